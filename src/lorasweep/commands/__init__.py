"""The composition root: the one place that knows every room. One function a command.

A run is read from top to bottom in ``running.train_together`` and ``live.LiveRun``:
RunConfig -> Dataset -> Checkpoint -> SampleSet -> Scores -> Pick.
"""

from lorasweep.captioning.writing import caption
from lorasweep.commands.check import check
from lorasweep.commands.demo import demo
from lorasweep.commands.export import export
from lorasweep.commands.finished import evaluate, pick, report, reproduce
from lorasweep.commands.machine import doctor, sync, ui
from lorasweep.commands.plan import plan
from lorasweep.kohya.importing import import_settings
from lorasweep.run.continuing import extend, refit, resume
from lorasweep.run.multirun import Multirun
from lorasweep.run.training import train, train_together
from lorasweep.search.searching import search, search_elsewhere

__all__ = [
    "Multirun",
    "caption",
    "check",
    "demo",
    "doctor",
    "evaluate",
    "export",
    "extend",
    "import_settings",
    "pick",
    "plan",
    "refit",
    "report",
    "reproduce",
    "resume",
    "search",
    "search_elsewhere",
    "sync",
    "train",
    "train_together",
    "ui",
]
