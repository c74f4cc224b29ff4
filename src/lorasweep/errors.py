"""What can go wrong, and the exit codes that a command ends with."""

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How a command ended; README explains each."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    NO_CHECKPOINT = 3
    SKIPPED = 4
    TRY_AGAIN = 75
    INTERRUPTED = 130
    TERMINATED = 143

    @classmethod
    def worst(cls, codes: Iterable["ExitCode"]) -> "ExitCode":
        """Return the code that stands for several runs, FINE for none.

        The numbers do not rank: a failed run (1) matters more than one without a usable checkpoint (3). TRY_AGAIN ranks
        below FAILED, so that a script that repeats on 75 stops at what repeating cannot mend.
        """
        ranked = (
            cls.FINE,
            cls.SKIPPED,
            cls.NO_CHECKPOINT,
            cls.TRY_AGAIN,
            cls.USAGE,
            cls.FAILED,
            cls.INTERRUPTED,
            cls.TERMINATED,
        )
        return max(codes, key=ranked.index, default=cls.FINE)


class UserError(ValueError):
    """An error that the user can put right.

    Its message is a sentence (or one a line) that names the file or key, its value, and what would be accepted.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class RunFailedError(UserError):
    """A run that started well could not go on, as when its loss became NaN; its earlier checkpoints stay good."""

    exit_code = ExitCode.FAILED


class TryAgainError(UserError):
    """Nothing is wrong with what was asked, as when the disk is full or a server does not answer."""

    exit_code = ExitCode.TRY_AGAIN
