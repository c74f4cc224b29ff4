"""A picture or a caption that cannot be read: one thing is wrong, not two."""

from lorasweep.check.files import read_files
from lorasweep.config.compose import load_run


def found(folder):
    data = load_run(["preset=person_sd15", f"data.path={folder}"], when_missing={"model.path": ""}).data
    return [(each.kind, each.paths[0].name) for each in read_files(folder, data).findings if each.paths]


def test_a_caption_beside_a_picture_that_cannot_be_read_is_no_orphan(tmp_path):
    (tmp_path / "IMG_1.heic").write_bytes(b"ftypheic")
    for name in ("IMG_1.txt", "IMG_2.txt"):
        (tmp_path / name).write_text("ohwx man", encoding="utf-8")
    assert sorted(found(tmp_path)) == [("caption_orphan", "IMG_2.txt"), ("unreadable", "IMG_1.heic")]


def test_a_caption_that_cannot_be_read_is_not_missing_as_well(tmp_path):
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "1.txt").write_bytes("ohwx man in a café".encode("latin-1"))
    (tmp_path / "2.txt").write_text("ohwx man", encoding="utf-8")
    assert sorted(found(tmp_path)) == [("caption_missing", "3.jpg"), ("caption_unreadable", "1.txt")]
