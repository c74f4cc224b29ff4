import re
from pathlib import Path

from lorasweep.data import findings
from lorasweep.data.findings import KINDS, LEVELS, Finding

ROOMS = Path(findings.__file__).parents[1]


def test_every_kind_has_a_level():
    assert set(KINDS.values()) == set(LEVELS)


def test_a_finding_has_the_level_of_its_kind():
    assert [Finding(kind=kind, text="x").level for kind in ("truncated", "small", "large")] == list(LEVELS)


def test_no_kind_is_listed_that_nothing_reports():
    """A kind stands in quotes wherever it is made."""
    text = "\n".join(path.read_text() for path in ROOMS.rglob("*.py") if path.name != "findings.py")
    assert [kind for kind in KINDS if not re.search(rf'"{kind}"', text)] == []
