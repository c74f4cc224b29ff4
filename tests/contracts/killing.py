"""``lorasweep`` in a process that kills itself, as ``kill -9`` does, when it comes to a place for the n-th time.

    python killing.py MODULE:CLASS.METHOD N WORD…

The call itself is not made any more. With N = 0 nothing is killed.
"""

import importlib
import os
import signal
import sys
from typing import Any


def arm(place: str, count: int) -> None:
    """Make the ``count``-th call of a method the last thing that this process does."""
    module, _, name = place.partition(":")
    owner, _, method = name.partition(".")
    holder = getattr(importlib.import_module(module), owner)
    plain = getattr(holder, method)
    calls = [0]

    def deadly(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*args, **options)

    setattr(holder, method, deadly)


if __name__ == "__main__":
    from lorasweep.cli import main

    if int(sys.argv[2]):
        arm(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
