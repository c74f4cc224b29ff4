"""The composition root: the one place that knows every room. One function a command.

A run is read from top to bottom in ``running.train_together`` and ``live.LiveRun``:
RunConfig -> Dataset -> Checkpoint -> SampleSet -> Scores -> Pick.
"""

from lorasweep.app.caption import caption
from lorasweep.app.check import check
from lorasweep.app.demo import demo
from lorasweep.app.export import export
from lorasweep.app.going_on import extend, refit, resume
from lorasweep.app.importing import import_settings
from lorasweep.app.machine import doctor, sync, ui
from lorasweep.app.multirun import Multirun
from lorasweep.app.plan import plan
from lorasweep.app.remembered import evaluate, pick, report, reproduce
from lorasweep.app.running import train, train_together
from lorasweep.app.searching import search, search_elsewhere

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
