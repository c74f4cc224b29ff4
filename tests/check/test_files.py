import os
from pathlib import Path

import pytest
from PIL import Image

from lorasweep.check.files import read_files
from lorasweep.config.photos import DataConfig


def put(folder, *names, text="a man"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name.endswith(".png"):
            Image.new("RGB", (8, 8)).save(folder / name)
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def read(root, **data):
    return read_files(root, DataConfig(path=str(root), **data))


def told(files):
    return [(finding.kind, finding.level, [path.name for path in finding.paths]) for finding in files.findings]


def test_a_sound_folder_is_read_in_natural_order_and_passed_in_silence(tmp_path):
    root = put(tmp_path / "photos", "p10.png", "p2.png", "p2.txt", "p10.caption")
    files = read(root)
    assert files.findings == ()
    assert files.pictures == (root / "p2.png", root / "p10.png")
    assert files.caption_of == {root / "p2.png": root / "p2.txt", root / "p10.png": root / "p10.caption"}
    assert set(files.captions.values()) == {"a man"}


def test_of_two_captions_the_one_that_is_trained_with_counts(tmp_path):
    root = put(tmp_path, "a.png", "a.caption", text="old")
    put(root, "a.txt", text="new")
    files = read(root)
    assert (files.captions, files.caption_of) == ({root / "a.txt": "new"}, {root / "a.png": root / "a.txt"})


def test_pictures_without_any_caption_are_one_finding(tmp_path):
    root = put(tmp_path, "a.png", "b.png")
    files = read(root)
    assert told(files) == [("caption_missing", "warning", ["a.png", "b.png"])]
    assert files.findings[0].text.startswith("None of the 2 pictures has a caption, so that all are learned as one")


def test_a_picture_that_alone_lacks_a_caption_is_named_with_the_file_to_write(tmp_path):
    root = put(tmp_path, "a.png", "b.png", "a.txt")
    files = read(root)
    assert told(files) == [("caption_missing", "warning", ["b.png"])]
    assert files.findings[0].text == f"{root / 'b.png'} has no caption while others have; write b.txt beside it."


def test_the_words_of_kohyas_folder_are_a_caption(tmp_path):
    root = tmp_path / "img"
    put(root / "3_ohwx man", "a.png")
    put(root / "2_ohwx man suit", "b.png", "b.txt")
    files = read(root)
    assert files.findings == ()
    assert {path.name: words for path, words in files.words.items()} == {"a.png": "ohwx man", "b.png": "ohwx man suit"}


def test_in_kohyas_folder_too_a_picture_that_alone_lacks_a_caption_is_named(tmp_path):
    put(tmp_path / "img" / "3_ohwx man", "a.png", "b.png", "b.txt")
    assert told(read(tmp_path / "img")) == [("caption_missing", "warning", ["a.png"])]


def test_a_caption_without_its_picture_is_an_error_about_that_file(tmp_path):
    root = put(tmp_path, "a.png", "a.txt", "gone.txt")
    files = read(root)
    assert told(files) == [("caption_orphan", "error", ["gone.txt"])]
    assert files.findings[0].text.startswith(f"{root / 'gone.txt'} is a caption without its picture; ")


def test_a_caption_that_cannot_be_read_is_told_from_one_without_its_picture(tmp_path):
    root = put(tmp_path, "a.png", "b.png", "b.txt")
    (root / "a.txt").write_bytes(b"caf\xe9")
    files = read(root)
    assert told(files)[0] == ("caption_unreadable", "error", ["a.txt"])
    assert "byte 4 is not UTF-8" in files.findings[0].text


def test_a_picture_of_a_kind_that_is_not_read_is_named(tmp_path):
    root = put(tmp_path, "a.png", "a.txt", "b.heic")
    assert told(read(root)) == [("unreadable", "error", ["b.heic"])]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_that_leads_out_of_the_folder_is_named(tmp_path):
    outside = put(tmp_path / "elsewhere", "x.png")
    root = put(tmp_path / "photos", "a.png", "a.txt")
    (root / "link.png").symlink_to(outside / "x.png")
    files = read(root)
    assert told(files) == [("link", "error", ["link.png"])]
    assert files.pictures == (root / "a.png",)


def test_a_folder_that_is_none_of_kohyas_is_named_and_the_others_are_read(tmp_path):
    put(tmp_path / "3_ohwx man", "a.png", "a.txt")
    put(tmp_path / "notes", "b.png")
    files = read(tmp_path)
    assert told(files) == [("folder", "error", ["notes"])]
    assert [path.name for path in files.pictures] == ["a.png"]


def test_a_folder_that_is_not_there_or_empty_is_a_finding_and_no_crash(tmp_path):
    files = read(tmp_path / "nowhere")
    assert told(files) == [("folder", "error", [])]
    assert "which does not exist; it must be a folder of pictures." in files.findings[0].text
    empty = put(tmp_path / "empty")
    assert [kind for kind, _, _ in told(read(empty))] == ["folder"]


def test_the_longer_of_two_names_that_begin_alike_is_meant(tmp_path):
    root = put(tmp_path, "a.png", "a.txt", "a b.txt")
    (root / "a b.heic").write_bytes(b"x")
    findings = {finding.paths for finding in read(root).findings}
    assert findings == {(Path(root / "a b.heic"),)}


def test_folders_with_a_part_of_their_own_are_not_the_subjects(tmp_path):
    put(tmp_path / "3_ohwx man", "a.png", "a.txt")
    apart = put(tmp_path / "1_man", "b.png")
    files = read(tmp_path, regularisation_path=str(apart))
    assert (files.findings, [path.name for path in files.pictures]) == ((), ["a.png"])
