"""The measure of a check's speed and memory: its photos, its jobs, and how figures come from what was measured."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.speed import check, photos
from lorasweep.check.copies import copies_of
from lorasweep.data.picture_facts import read_facts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Eleven photos of a tenth of the size, of four scenes."""
    change = pytest.MonkeyPatch()
    for name, value in {"SCENES": 4, "SCENE_SIDE": 192, "SHORTEST": 120, "LONGEST": 160, "GRAIN_SIDE": 256}.items():
        change.setattr(photos, name, value)
    for kept in (photos._scene, photos._grain):
        kept.cache_clear()
    yield photos.make_photos(11, tmp_path_factory.mktemp("speed") / "photos")
    change.undo()
    for kept in (photos._scene, photos._grain):
        kept.cache_clear()


def test_photos_are_different_files_of_both_kinds_and_no_copies(made):
    assert {path.suffix for path in made.pictures} == {".jpg", ".png"}
    assert len({path.read_bytes() for path in made.pictures}) == 11
    facts = [read_facts(path)[0] for path in made.pictures]
    assert len({(each.width, each.height) for each in facts}) > 5
    assert copies_of(facts) == []
    assert all(path.with_suffix(".txt").read_text().startswith("s1lv10") for path in made.pictures)


def test_a_photo_is_a_function_of_its_number_and_is_as_hard_to_pack_as_a_real_one(made):
    first = np.asarray(photos.photo(0))
    assert (first == np.asarray(photos.photo(0))).all()
    jpeg = next(path for path in made.pictures if path.suffix == ".jpg")
    with Image.open(jpeg) as picture:
        assert 0.15 < jpeg.stat().st_size / (picture.width * picture.height) < 1.0


def test_photos_that_are_there_are_not_made_again(made):
    before = {path: path.stat().st_mtime_ns for path in made.pictures}
    again = photos.make_photos(11, made.folder)
    assert {path: path.stat().st_mtime_ns for path in again.pictures} == before


def test_a_part_of_the_set_is_its_first_photos_with_their_captions(made):
    with check.first_of(made, 3) as folder:
        assert sorted(path.stem for path in folder.iterdir()) == ["0000", "0000", "0001", "0001", "0002", "0002"]
        assert [path.name for path in check._pictures(folder)] == [path.name for path in made.pictures[:3]]
    assert not folder.exists()


def test_a_job_in_a_process_of_its_own_tells_time_and_memory(made):
    told = check.run_child("check", made.folder)
    assert told["pictures"] == 11
    assert told["cpu"] > 0
    assert 0 < told["before_mib"] <= told["peak_mib"] < 4000


def test_a_job_that_fails_says_why(made, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(RuntimeError, match="is not a picture that can be read"):
        check.run_child("decode", tmp_path / "broken")


def runs(job, *told):
    """(pictures, seconds, peak) each."""
    return [
        {"job": job, "pictures": count, "cpu": cpu, "wall": 2 * cpu, "before_mib": 50, "peak_mib": peak}
        for count, cpu, peak in told
    ]


@pytest.fixture
def measured():
    """A set of 2,000 whose check takes twice as long as decoding and grows by 4 MiB for each 1,000."""
    whole = {"decode": (40, 60, 50), "check": (80, 90, 100), "read": (100, 100, 100)}
    found = [run for job, times in whole.items() for cpu in times for run in runs(job, (2000, cpu, 108))]
    parts = [(250, 9.0, 101.0), (1000, 40.0, 104.0)]
    for job in check.GROWING:
        found += runs(job, *parts)
    found += runs("cache_disk", (2000, 90.0, 115.0)) + runs("decode", (60, 9, 50))
    found += runs("faces_facenet", (60, 24.0, 500)) + runs("faces_portraits", (60, 6.0, 300))
    files = {f"{end}_{what}": 1 for end in ("jpg", "png") for what in ("files", "megapixels", "bytes_a_pixel")}
    return {"pictures": 2000, "rounds": 3, "files": files, "runs": found}


def test_figures_are_medians_of_rounds_and_growth_from_the_smallest_to_the_largest_set(measured):
    found = check.figures(measured)
    assert found["check_speed"] == 0.5  # of 40 / 80, 60 / 90 and 50 / 100
    assert found["read_speed"] == 0.5
    assert found["ms_a_picture"]["decode"] == pytest.approx(25)
    assert found["ms_a_picture"]["faces_facenet"] == pytest.approx(400)
    assert found["mib_per_1000"]["check"] == pytest.approx(4)
    assert found["mib_per_1000"]["cache_disk"] == pytest.approx(8)
    assert found["mib_per_1000"]["cache_memory"] == pytest.approx(4)
    assert found["latents_mib_per_1000"] == pytest.approx(31.25)


def test_replay_prints_what_was_measured(measured, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(check, "RESULTS", tmp_path / "check_speed.json")
    check.RESULTS.write_text(json.dumps(measured))
    check.main(["--replay"])
    shown = capsys.readouterr().out
    assert [line.split()[-3:] for line in shown.splitlines() if line.startswith("speed of the check,")] == [
        ["50%", "≥", "60%"]
    ]


@pytest.mark.slow
def test_a_small_set_goes_through_all_jobs(made, tmp_path, monkeypatch):
    """In this process: fifteen others would each import torch anew, and how one is started has its own tests."""

    def job_here(job, folder):
        scratch = tmp_path / f"{job}-{folder.parent.name}"
        monkeypatch.setenv("LORASWEEP_SCRATCH", str(scratch))
        return check.child(job, folder)

    monkeypatch.setattr(check, "run_child", job_here)
    (tmp_path / "photos").mkdir()
    for path in made.folder.iterdir():
        (tmp_path / "photos" / path.name).hardlink_to(path)
    out = tmp_path / "out.json"
    check.main(["--pictures", "11", "--rounds", "1", "--scratch", str(tmp_path), "--json", str(out)])
    told = json.loads(out.read_text())
    assert {run["job"] for run in told["runs"]} == set(check.JOBS)
    assert {run["pictures"] for run in told["runs"] if run["job"] in ("check", "read", "cache_disk")} == {1, 5, 11}
    assert told["machine"]["numpy"] == np.__version__
