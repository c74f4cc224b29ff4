"""A model hub on loopback that speaks as much of the real one's language as is needed to fetch a folder."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One repository, ``org/tiny``, and some in trouble: ``org/gone``, ``org/gated``, ``org/ill``, ``org/cut``."""

    folder: Path
    address: str = ""
    asked: list[str] = field(default_factory=list)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.split("?")[0]
        self.asked.append(path)
        if "/gone/" in path:
            _send(handler, 404, {}, {"X-Error-Code": "RepoNotFound"})
        elif "/gated/" in path:
            _send(handler, 403, {}, {"X-Error-Code": "GatedRepo"})
        elif "/ill/" in path:
            _send(handler, 503, {})
        elif path.startswith("/api/models/") and "/tree/" in path:
            _send(handler, 200, [self._entry(file) for file in self.files()])
        elif path.startswith("/api/models/"):
            if not path.endswith((f"/revision/{COMMIT}", "/revision/v1")):
                _send(handler, 404, {}, {"X-Error-Code": "RevisionNotFound"})
            else:
                names = [{"rfilename": str(file.relative_to(self.folder))} for file in self.files()]
                _send(handler, 200, {"id": "org/tiny", "sha": COMMIT, "siblings": names})
        else:
            self._give(handler, self.folder / path.split(f"/resolve/{COMMIT}/")[1], cut="/cut/" in path)

    def _entry(self, file: Path) -> dict[str, Any]:
        name, size = str(file.relative_to(self.folder)), file.stat().st_size
        return {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(name.encode()).hexdigest()}

    def _give(self, handler: BaseHTTPRequestHandler, file: Path, *, cut: bool) -> None:
        data = file.read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(data[: len(data) // 2] if cut else data)


def _send(handler: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(data)


@contextmanager
def served(folder: Path) -> Iterator[Hub]:
    """The hub, answering on a free port of loopback while the block runs."""
    hub = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def online(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE=0 would have said when the library was imported."""
    import huggingface_hub.utils._http
    from huggingface_hub import constants

    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)  # between tries
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
