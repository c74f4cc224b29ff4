import io

from rich.console import Console

from lorasweep.records import RunView
from lorasweep.report.table import checkpoint_table


def test_the_table_shows_every_checkpoint_and_marks_the_pick(view: RunView) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(checkpoint_table(view))
    lines = console.export_text().splitlines()
    picked = [line for line in lines if "picked" in line]
    assert len(picked) == 1
    assert "200" in picked[0]
    assert "0.60–0.80" in picked[0]
    assert any("base" in line for line in lines)
    assert any("over (identity)" in line for line in lines)
