"""What can go wrong, and the exit codes that a command ends with."""

import errno
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
        """Return the code that stands for several runs, FINE for none."""
        return max(codes, key=lambda code: code.rank, default=cls.FINE)

    @property
    def rank(self) -> int:
        """How bad it is, from 0. The numbers do not say: a failed run (1) is worse than one without a checkpoint (3).

        TRY_AGAIN ranks below FAILED, so that a script that repeats on 75 stops at what repeating cannot mend.
        """
        kind = type(self)
        ranked = (
            *(kind.FINE, kind.SKIPPED, kind.NO_CHECKPOINT, kind.TRY_AGAIN),
            *(kind.USAGE, kind.FAILED, kind.INTERRUPTED, kind.TERMINATED),
        )
        return ranked.index(self)


class UserError(Exception):  # no ValueError: those of ours and of numpy are bugs
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


RETRYABLE = (errno.ENOSPC, errno.EDQUOT, errno.ECONNREFUSED, errno.ETIMEDOUT)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the code that a command ends with if this error ends it."""
    if isinstance(error, UserError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.errno in RETRYABLE):
        return ExitCode.TRY_AGAIN
    return ExitCode.USAGE if isinstance(error, FileNotFoundError | NotADirectoryError) else ExitCode.FAILED
