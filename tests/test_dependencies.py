"""What the code imports is declared in pyproject.toml, and what is declared is imported or says why it is there."""

import ast
import functools
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
OWN = {"lorasweep", "hydra_plugins"}
UNTOLD = {"dlib": {"dlib-bin"}}
"""Distributions that do not tell which imports they have: dlib-bin names only the extension inside."""


def plain(name: str) -> str:
    """The name of a distribution as the registry compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", name)[0]).lower()


def declared() -> dict[str, str]:
    """Distribution to its own words in pyproject.toml, comments included; of the extra ``dev`` none."""
    parsed = tomllib.loads(PROJECT.read_text())["project"]
    extras = [each for name, listed in parsed["optional-dependencies"].items() if name != "dev" for each in listed]
    lines = PROJECT.read_text().splitlines()
    found = {}
    for requirement in [*parsed["dependencies"], *extras]:
        place = next(number for number, line in enumerate(lines) if f'"{requirement}"' in line)
        above = lines[place - 1] if lines[place - 1].lstrip().startswith("#") else ""
        found[plain(requirement)] = above + lines[place].partition("#")[2]
    return found


def imported() -> dict[str, Path]:
    """Top-level name of every third-party import to a file that has it, deferred imports among them."""
    found: dict[str, Path] = {}
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            else:
                continue
            found |= {name.partition(".")[0]: file for name in names}
    return {name: file for name, file in found.items() if name not in {*OWN, *sys.stdlib_module_names}}


@functools.cache
def installed() -> dict[str, set[str]]:
    """Top-level name to the distributions that have it; looking through all of them takes a second."""
    return {name: {plain(each) for each in found} for name, found in packages_distributions().items()}


def distributions(name: str) -> set[str]:
    """The distributions that an import may come from; an optional one that is not installed goes by its own name."""
    return UNTOLD.get(name) or installed().get(name, {plain(name)})


def test_every_import_of_another_project_is_declared() -> None:
    known = declared()
    assert {name: file for name, file in imported().items() if not distributions(name) & known.keys()} == {}


def test_what_is_declared_is_imported_or_its_line_says_why() -> None:
    used = {each for name in imported() for each in distributions(name)}
    assert [name for name, why in declared().items() if name not in used and not why.strip()] == []


@pytest.mark.parametrize("extra", ["", "dev"])
def test_every_version_that_is_tested_with_is_pinned_once(extra: str) -> None:
    parsed = tomllib.loads(PROJECT.read_text())["project"]
    wanted = parsed["optional-dependencies"][extra] if extra else parsed["dependencies"]
    pins = [plain(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert sorted({plain(each) for each in wanted} - set(pins)) == []
    assert len(pins) == len(set(pins))
