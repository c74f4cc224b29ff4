import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from lorasweep.config.compose import conf_dir

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src").rglob("*.py"))
ROOMS = ("app", "config", "data", "evaluate", "models", "portraits", "report", "track", "train", "vision")


def text_of(module):
    return module.read_text(encoding="utf-8")


def test_every_module_stays_within_400_lines():
    assert {module.name: count for module in MODULES if (count := len(text_of(module).splitlines())) > 400} == {}


def test_every_module_says_what_it_is_for():
    assert [
        module for module in MODULES if module.stat().st_size and not ast.get_docstring(ast.parse(text_of(module)))
    ] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_a_package_so_that_its_import_contracts_hold(room):
    assert (ROOT / "src" / "lorasweep" / room / "__init__.py").is_file()


def test_hydra_finds_its_plugins_by_scanning_a_namespace():
    assert not (ROOT / "src" / "hydra_plugins" / "__init__.py").exists()
    assert (ROOT / "src" / "hydra_plugins" / "lorasweep" / "__init__.py").is_file()


def test_no_configuration_names_code():
    for file in [*conf_dir().rglob("*.yaml"), *(ROOT / "sweeps").rglob("*.yaml")]:
        assert "_target_" not in file.read_text(), file


def test_every_dependency_is_pinned_by_the_constraints():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 and "/" not in line for line in pins)
    pinned = {normal(line.partition("==")[0]) for line in pins}
    for wanted in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        assert normal(wanted) in pinned, wanted


def normal(requirement):
    head = requirement
    for sign in "<>=!~[; ":
        head = head.partition(sign)[0]
    return head.lower().replace("_", "-")


@pytest.mark.slow
def test_the_wheel_holds_presets_plugins_and_models_and_composes_a_run_elsewhere(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    inside = {f"lorasweep/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "conf").rglob("*.yaml")}
    inside |= {file.relative_to(ROOT / "src").as_posix() for file in MODULES}
    weights = ROOT / "src" / "lorasweep" / "portraits" / "weights"
    inside |= {file.relative_to(ROOT / "src").as_posix() for file in weights.rglob("*.safetensors")}
    assert inside <= held
    assert "hydra_plugins/__init__.py" not in held
    assert not any(part in file for file in held for part in ("tests/", ".cache", "mlruns"))
    program = (
        "from lorasweep.config.compose import conf_dir, load_run; import lorasweep;"
        "run = load_run(['preset=person_portraits', 'data.path=x']); print(conf_dir(), run.model.path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "site" / "lorasweep" / "conf"), "portraits"]
