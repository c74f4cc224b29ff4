"""``lorasweep report RUN``: write the page of a run, or the page that compares the runs of a multirun."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_run
from lorasweep.errors import ExitCode
from lorasweep.report.page import write_comparison, write_report
from lorasweep.run.multirun import children_of
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import find_run


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN``."""
    add_run(parser)


def main(options: Namespace) -> Answer:
    """Write the page and print its path."""
    page = report(options.root, options.run)
    print(page)
    return page, ExitCode.FINE


def report(root: str | Path, what: str) -> Path:
    """Write the page of a run or a multirun and return its path."""
    found = find_run(Path(root), what)
    children = children_of(found)
    return write_comparison(found.path, children) if children else write_report(found.path, read_run(found.path))
