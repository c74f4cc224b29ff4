"""Ctrl-C and SIGTERM: finish the step, save, and leave; a second one leaves at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """Whether the user asked to stop, and by which signal."""

    signal: int = 0

    def __bool__(self) -> bool:
        return self.signal != 0

    def leave(self) -> None:
        """Raise what ends the program with the exit code of this signal: 130 for Ctrl-C, 143 for SIGTERM."""
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request. Off the main thread it changes nothing."""
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if request:
            raise KeyboardInterrupt
        request.signal = number

    before: dict[int, object] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    except ValueError:  # Python handles signals on the main thread only; whoever owns it owns them
        pass
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
