"""A real face on its way through check, buckets and crop: scikit-image's astronaut, and faults planted in her photo.

She is Eileen Collins, in a photo by NASA that is in the public domain. ``write_set`` plants one fault in each copy
of the photo; FaceNet's detector, whose weights come with its library, looks for faces as ``lorasweep check`` does.

    python -m benchmarks.real.face [--to docs/pictures/real_face.jpg]     half a minute
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from benchmarks.check.sets import save
from lorasweep.data.atomic import write_atomically

WORDS = ("preset=person_sd15", "evaluate.face=facenet", "hardware=cpu", "hardware.threads=1", "data.trigger=s1lv10")
CAPTIONS = {
    "astronaut.png": "s1lv10, a woman in an orange suit before a flag",
    "blurred.jpg": "s1lv10, everything is out of focus",
    "headless.jpg": "s1lv10, an orange suit, a helmet on a table",
    "tall.jpg": "s1lv10, a shuttle behind her shoulder",
    "tiny.png": "s1lv10, smiling into the camera",
    "turned.jpg": "s1lv10, standing upright",
    "twin.jpg": "s1lv10, the shuttle on the left side",
}
TALL = (60, 0, 444, 512)
"""Left, top, right and bottom of the crop that becomes ``tall.jpg``."""
PLANTED: Mapping[str, Sequence[str]] = {
    "astronaut.png": (),
    "blurred.jpg": ("blurred_face", "duplicate", "upscaled"),
    "headless.jpg": ("no_face", "upscaled"),
    "tall.jpg": ("upscaled",),
    "tiny.png": ("duplicate", "small"),
    "turned.jpg": ("duplicate", "rotated"),
    "twin.jpg": ("mirrored_duplicate",),
}
"""Kinds by file: all that is wrong. A blur is the same as an enlargement, and half a photo has too few pixels."""
THROUGHOUT = ("one_background", "one_outfit", "one_pose")
"""What is true of the set: it is one photo."""
LEFT_EYE, RIGHT_EYE = (203.8, 101.0), (246.9, 103.5)
"""Her pupils in pixels, read off the photo enlarged eight times; left as the viewer sees it."""
SIDE, GAP, INK, PAPER = 250, 12, (34, 34, 38), (250, 250, 248)
WIDTH, LARGEST = 900, 150_000
"""Of the picture: pixels, colours of its palette and bytes at most."""


def astronaut() -> Image.Image:
    """Return 512 x 512 pixels, RGB."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as picture:
        return picture.convert("RGB")


def write_set(folder: Path) -> Path:
    """Write the photo and six copies of it, each with its own fault and caption."""
    plain = astronaut()
    folder.mkdir(parents=True, exist_ok=True)
    save(plain, folder / "astronaut.png")
    save(plain.filter(ImageFilter.GaussianBlur(4)), folder / "blurred.jpg")
    save(plain.crop((0, 200, 512, 512)), folder / "headless.jpg")
    save(plain.crop(TALL), folder / "tall.jpg")
    save(plain.resize((128, 128), Image.Resampling.LANCZOS), folder / "tiny.png")
    save(plain.transpose(Image.Transpose.ROTATE_90), folder / "turned.jpg", orientation=6)
    save(ImageOps.mirror(plain), folder / "twin.jpg")
    for name, text in CAPTIONS.items():
        (folder / name).with_suffix(".txt").write_text(f"{text}\n", encoding="utf-8")
    return folder


def run_for(folder: Path) -> Any:
    """Return the run that the set is judged for."""
    from lorasweep.config.compose import as_override, load_run

    return load_run([*WORDS, as_override("data.path", str(folder))], when_missing={"model.path": ""})


def draw(folder: Path, sheet: Path) -> Image.Image:
    """Draw the check's sheet; below it the face that was found, the crop that is compared, and a photo in its
    bucket."""
    from lorasweep.check.inspection import finder_for
    from lorasweep.data.buckets import bucket_rule, place_pictures
    from lorasweep.data.pictures import open_picture, placed
    from lorasweep.vision.faces import face_crop

    run = run_for(folder)
    finder, _ = finder_for(run)
    assert finder is not None
    photo, tall = open_picture(folder / "astronaut.png"), open_picture(folder / "tall.jpg")
    found = finder.find(np.asarray(photo))
    marked = photo.copy()
    ink = ImageDraw.Draw(marked)
    ink.rectangle(tuple(found.boxes[0]), outline=(255, 230, 0), width=3)
    for x, y in found.landmarks[0]:
        ink.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(0, 220, 255))
    (place,) = place_pictures([tall.size], bucket_rule(run.data, run.model.resolution))
    bucket = "{} x {}".format(*place.bucket)
    parts = (
        ("where the face was found", marked),
        ("what would be compared: 160 x 160", face_crop(np.asarray(photo), found.boxes[0])),
        (f"tall.jpg as it is trained on: {bucket}", placed(tall, place)),
    )
    return _beside(sheet, parts)


def _beside(sheet: Path, parts: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    with Image.open(sheet) as opened:
        top = opened.convert("RGB")
    whole = Image.new("RGB", (top.width, top.height + SIDE + 4 * GAP), PAPER)
    whole.paste(top)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    step = (top.width - GAP) // len(parts)
    for place, (words, picture) in enumerate(parts):
        left = GAP + place * step
        draw.text((left, top.height), words, INK, font)
        whole.paste(ImageOps.contain(picture, (SIDE, SIDE)), (left, top.height + 2 * GAP))
    return whole


def main() -> None:
    """Check the set, print what was found, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("docs/pictures/real_face.jpg"))
    options = parser.parse_args()
    from lorasweep.commands.check import check

    with tempfile.TemporaryDirectory() as scratch:
        folder, sheet = write_set(Path(scratch) / "photos"), Path(scratch) / "sheet.png"
        check(folder, WORDS, sheet=sheet)
        picture = draw(folder, sheet)
    stream, height = BytesIO(), round(picture.height * WIDTH / picture.width)
    small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.convert("RGB").save(stream, "JPEG", quality=84, optimize=True)
    if len(stream.getvalue()) > LARGEST:
        raise SystemExit(f"{options.to} would have {len(stream.getvalue())} bytes; at most {LARGEST} are committed.")
    write_atomically(options.to, stream.getvalue())


if __name__ == "__main__":
    main()
