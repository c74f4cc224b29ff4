"""``lorasweep`` in processes forked from a warm one, each of which can kill itself, as ``kill -9`` does, at a place.

A command pays seconds for its imports, and a test that kills it again and again pays them once. The warm process, which
is this module run as a program, has opened nothing: no store, no configuration, no model.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NOWHERE = "none"
NEEDED = (
    *("lorasweep.models.loading.reading", "lorasweep.models.families.sd15", "lorasweep.run.training", "peft"),
    *(
        "lorasweep.commands.train",
        "lorasweep.commands.sweep",
        "lorasweep.commands.resume",
        "lorasweep.search.searching",
    ),
    *("mlflow", "mlflow.store.tracking.sqlalchemy_store", "optuna.storages"),
)
"""What ``train``, ``sweep`` and ``resume`` import sooner or later, seconds of it."""


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


class Forked:
    """A child of the warm process, with as much of ``subprocess.Popen`` as tests use."""

    def __init__(self, ask: "Warm", pid: int) -> None:
        self._ask, self.pid = ask, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended; None while it runs."""
        if self.returncode is None:
            self.returncode = self._ask({"poll": self.pid})
        return self.returncode

    def wait(self) -> int:
        """Return how it ended, when it has."""
        if self.returncode is None:
            self.returncode = self._ask({"wait": self.pid})
        assert self.returncode is not None
        return self.returncode


class Warm:
    """The warm process: ask it for a command, and it forks."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, request: Mapping[str, Any]) -> Any:
        """Return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: IO[Any],
        place: str = NOWHERE,
        count: int = 0,
        **_: Any,
    ) -> Forked:
        """Start ``lorasweep WORD…`` in a session of its own; what it prints goes into the file, errors too.

        The ``count``-th call of a method, ``MODULE:CLASS.METHOD``, is not made but kills it; with 0 nothing does.
        """
        command = {"words": list(words), "cwd": str(cwd), "env": dict(env), "log": stdout.name}
        return Forked(self, self({**command, "place": place, "count": count}))


@contextmanager
def warm_process() -> Iterator[Warm]:
    """Start the warm process, for as long as the ``with`` lasts."""
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **one_thread},
    )
    with process:
        try:
            yield Warm(process)
        finally:
            process.kill()


def forked_command() -> dict[str, Any] | None:
    """Answer requests until there are no more (None), or until this is the child that is to run one (the request)."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    for module in NEEDED:
        importlib.import_module(module)
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "words" not in request:
            pid, status = os.waitpid(request.get("poll") or request["wait"], os.WNOHANG if "poll" in request else 0)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := os.fork()):
            return request
        print(json.dumps(answer), file=answers, flush=True)
    return None


def become(request: Mapping[str, Any]) -> None:
    """Take a session, folder, environment and streams of its own."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
        os.dup2(file, stream)


if __name__ == "__main__":
    found = forked_command()
    if found is not None:
        become(found)
        if found["count"]:
            arm(found["place"], found["count"])
        from lorasweep.cli import main

        sys.exit(main(found["words"]))
