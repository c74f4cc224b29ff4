"""``lorasweep sweep NAME DIR [key=value …]``: search for rate, steps and more.

It is short for a multirun of ``train`` with our own sweeper, ``hydra/sweeper=lorasweep``.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from lorasweep.commands.photos import folder_words, photo_folder
from lorasweep.commands.train import run_jobs
from lorasweep.config.compose import as_override
from lorasweep.errors import ExitCode

OF_THE_SWEEPER = ("study", "storage", "trials", "sampler", "prune", "stop_past_peak", "width", "workers", "heartbeat")
"""Keys of ``hydra.sweeper`` that a search may name without that prefix."""


def main(words: Sequence[str]) -> ExitCode:
    """Search; the same words go on with an earlier search of that name."""
    if len(words) < 2 or {"-h", "--help"} & set(words[:2]):
        _parser().parse_args(words)
    search, folder, *overrides = words
    overrides = [f"hydra.sweeper.{word}" if word.partition("=")[0] in OF_THE_SWEEPER else word for word in overrides]
    launcher = [] if any(word.startswith("hydra/launcher=") for word in overrides) else ["hydra/launcher=cohort"]
    chosen = ["-m", "hydra/sweeper=lorasweep", *launcher, as_override("hydra.sweeper.search", search)]
    photos = folder_words(photo_folder(folder, "sweep"), overrides)
    return run_jobs([*photos, *chosen, *overrides])


def _parser() -> ArgumentParser:
    """Return a parser for ``--help`` and for words that are missing; the rest is Hydra's to read."""
    parser = ArgumentParser(
        prog="lorasweep sweep",
        usage="%(prog)s NAME DIR preset=NAME [trials=N] [study=NAME] [key=value …]",
        description="Search for rate, steps and more. Words behind DIR are those of train. The same command continues "
        "an interrupted search. Keys of the search itself: trials=N, study=NAME, sampler=tpe|gp|random|grid|qmc, "
        "prune=false, stop_past_peak=false, width=N|auto, and for several workers (docs/cluster.md) storage=URL, "
        "workers=N, heartbeat=SECONDS. A key with several values joins the space: "
        "optim.lr=tag(log,interval(1e-5,1e-3)), lora.rank=4,16.",
    )
    searches = "lr, lr_steps, lr_rank, lr_te_lr, flux_shift, or a YAML file of your own"
    parser.add_argument("search", metavar="NAME", help=searches)
    parser.add_argument("folder", metavar="DIR", help="the folder of photos")
    return parser
