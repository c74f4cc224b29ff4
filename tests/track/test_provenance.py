import json
import subprocess
from pathlib import Path

import pytest
from track.story import Story

from lorasweep.track.provenance import code_state, provenance


def test_provenance_tells_hashes_versions_and_signatures_but_no_place(story: Story, tmp_path: Path) -> None:
    meta = story.meta()
    found = provenance(
        dataset=meta.dataset,
        config_sha256="c0ffee",
        signatures={"run": "r", "evaluation": "e"},
        machine={"device": "cpu", "threads": 1},
    )
    roles = {"train": {"me.png": "ab"}, "held_out": {}, "regularisation": {}}
    assert found["data"] == {"fingerprint": "f", **roles, "masks": {}}
    assert found["signatures"] == {"run": "r", "evaluation": "e"}
    assert found["packages"]["torch"]
    assert found["machine"] == {"device": "cpu", "threads": 1}
    assert str(tmp_path) not in json.dumps({**found, "code": None})


def test_a_checkout_tells_its_commit_and_its_changes_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary0of0the0coal0mine")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    for name in ("src/package/room/a.py", "src/plugin/b.py", "conf/c.yaml", "notes/d.md"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False, "diff": "", "untracked": []}
    package = tmp_path / "src" / "package"
    assert code_state(package) == clean
    (tmp_path / "notes/d.md").write_text("y")
    assert code_state(package) == clean
    (package / "room/a.py").write_text("x = 'canary0of0the0coal0mine'\n")
    (tmp_path / "src/plugin/b.py").write_text("x = 2\n")
    (tmp_path / "conf/c.yaml").write_text("x = 3\n")
    (package / "new.py").write_text("x = 4\n")
    state = code_state(package)
    assert state["dirty"] is True
    for line in ("+x = '[hidden]'", "+x = 2", "+x = 3"):
        assert line in state["diff"]
    assert state["untracked"] == ["src/package/new.py"]
    (tmp_path / ".venv").mkdir()
    assert code_state(tmp_path / ".venv")["commit"] is None


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert code_state(tmp_path) == {"commit": None, "dirty": None, "diff": None, "untracked": None}
