"""One module a command: its arguments, its call, what it prints and its exit code.

``lorasweep NAME`` is the module NAME (``import_`` for ``import``), and ``cli.COMMANDS`` lists them all. Nothing is
imported here, so that a command loads what it needs and no more. ``photos`` and ``runs`` are no commands: they hold the
arguments and checks that commands on a folder of photos and commands on a run have in common.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, Protocol

from lorasweep.errors import ExitCode

Answer = tuple[Any, ExitCode]
"""What ``--json`` prints, and the exit code."""


class Command(Protocol):
    """A module of this package, for a command whose arguments argparse reads."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what may stand behind the command's name, ``--json`` aside."""
        ...

    def main(self, options: Namespace) -> Answer:
        """Run the command, print what a person reads, and return what a program reads."""
        ...


class HydraCommand(Protocol):
    """A module of this package, for a command whose words are Hydra's: ``train`` and ``sweep``."""

    def main(self, words: Sequence[str]) -> ExitCode:
        """Run the command on the words behind its name."""
        ...
