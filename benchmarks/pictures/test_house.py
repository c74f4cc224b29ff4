"""The picture of docs/architecture.md, and the files that the page names."""

import re

from benchmarks.pictures import house

PAGE = house.ROOT / "docs" / "architecture.md"


def test_every_room_is_drawn_and_none_imports_upwards(tmp_path):
    house.main(["--to", str(tmp_path / "house.svg")])
    drawn = (tmp_path / "house.svg").read_text(encoding="utf-8")
    found, sizes = house.imports()
    level = {room: place for place, layer in enumerate(house.layers()) for room in layer}
    assert set(sizes) - {"__main__"} == set(level)
    assert all(f">{room}</text>" in drawn for room in level)
    assert [pair for pair in found if "__main__" not in pair and level[pair[0]] >= level[pair[1]]] == []


def test_the_page_shows_the_picture():
    assert f"({house.PICTURE.relative_to(PAGE.parent).as_posix()})" in PAGE.read_text(encoding="utf-8")


STEP = re.compile(r"^\d+\. \[`(\S+)`\]\((\S+)\)(.*?)(?=^\d+\. |^\n)", flags=re.MULTILINE | re.DOTALL)


def test_the_walk_names_at_most_a_dozen_files_with_functions_that_are_in_them():
    steps = STEP.findall(PAGE.read_text(encoding="utf-8"))
    assert 5 <= len(steps) <= 12
    for name, link, words in steps:
        file = (PAGE.parent / link).resolve()
        assert file == house.ROOT / "src" / house.PACKAGE / name
        source = file.read_text(encoding="utf-8")
        called = re.findall(r"`(\w+)\(\)`", words)
        assert called, name
        for function in called:
            assert re.search(rf"^\s*def {function}\(", source, flags=re.MULTILINE), (name, function)


def test_every_file_that_the_page_links_is_there():
    for link in re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link
