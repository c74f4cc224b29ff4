"""What can be wrong with a folder of photos, planted one at a time in a clean set, and what is then to be found.

Each kind of finding has one or several ways to be planted, which take turns. A planter says which files must be named,
which others may be (the original beside its copy), and which other kinds are as true of the planted files.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.check.sets import STREAM, PhotoSet, Shot, photograph, save
from lorasweep.portraits.people import sample_scene


@dataclass(frozen=True)
class Plant:
    """One fault in one set."""

    kind: str
    must: tuple[Path, ...] = ()
    """Files that must be named; none if the finding is about the set as a whole, whichever files it names."""
    may: tuple[Path, ...] = ()
    """Further files that the finding may name."""
    also: tuple[str, ...] = ()
    """Other kinds that are true of these files."""


@dataclass(frozen=True)
class Chance:
    """What a planter may draw on."""

    there: PhotoSet
    rng: np.random.Generator
    count: int
    """Photos to spoil, if the fault is one of photos: 1 to 3."""

    def shots(self, count: int | None = None) -> list[Shot]:
        """Return some of the set's shots, in random order."""
        shots = self.there.album.shots
        return [shots[place] for place in self.rng.permutation(len(shots))[: count or self.count]]

    def replaced(self, shot: Shot, ending: str) -> Path:
        """Return a new path in the photo's place and delete the old file; its caption stays."""
        self.there.picture(shot).unlink()
        return self.there.folder / (shot.stem + ending)


Planter = Callable[[Chance], Plant]


def each(kind: str, spoil: Callable[[Chance, Shot], Path], *also: str, count: int | None = None) -> Planter:
    """Spoil some photos, each of which has to be named."""

    def plant(chance: Chance) -> Plant:
        return Plant(kind, tuple([spoil(chance, shot) for shot in chance.shots(count)]), also=also)

    return plant


def opened(path: Path) -> Image.Image:
    """Return the photo in memory, so that its file can be overwritten."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _bytes(make: Callable[[Chance], bytes], ending: str = ".jpg") -> Callable[[Chance, Shot], Path]:
    def spoil(chance: Chance, shot: Shot) -> Path:
        path = chance.replaced(shot, ending)
        path.write_bytes(make(chance))
        return path

    return spoil


def _cut(form: str) -> Callable[[Chance, Shot], Path]:
    """Keep the first half to nine tenths of a file."""

    def spoil(chance: Chance, shot: Shot) -> Path:
        picture = opened(chance.there.picture(shot))
        path = chance.replaced(shot, form)
        save(picture, path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * chance.rng.uniform(0.5, 0.9))])
        return path

    return spoil


def _bomb(side: int) -> Callable[[Chance, Shot], Path]:
    """Write a small PNG that unfolds to many megapixels."""

    def spoil(chance: Chance, shot: Shot) -> Path:
        path = chance.replaced(shot, ".png")
        Image.new("1", (side, side)).save(path)
        return path

    return spoil


def _sixteen_bit(chance: Chance, shot: Shot) -> Path:
    gray = np.asarray(opened(chance.there.picture(shot)).convert("L")).astype(np.uint16) * 257
    path = chance.replaced(shot, str(chance.rng.choice([".png", ".tif"])))
    Image.fromarray(gray).save(path)
    return path


def _cmyk(chance: Chance, shot: Shot) -> Path:
    picture = opened(chance.there.picture(shot))
    path = chance.replaced(shot, ".jpg")
    picture.convert("CMYK").save(path, "JPEG", quality=92)
    return path


def _cut_out(chance: Chance, shot: Shot) -> Path:
    """Make everything around an oval transparent, as background removers do."""
    picture = opened(chance.there.picture(shot))
    across, down = (np.linspace(-1, 1, side) for side in picture.size)
    inside = (across[None] / 0.8) ** 2 + (down[:, None] / 0.95) ** 2 < 1
    picture.putalpha(Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)))
    path = chance.replaced(shot, str(chance.rng.choice([".png", ".webp"])))
    picture.save(path)
    return path


def _lying(chance: Chance, shot: Shot) -> Path:
    """Store it on its side, with an EXIF tag that turns it upright."""
    picture = opened(chance.there.picture(shot))
    path = chance.replaced(shot, ".jpg")
    tag, back = ((6, 90), (8, 270), (3, 180))[chance.rng.integers(3)]
    save(picture.rotate(back, expand=True), path, orientation=tag)
    return path


def _animated(ending: str) -> Callable[[Chance, Shot], Path]:
    def spoil(chance: Chance, shot: Shot) -> Path:
        first = ImageOps.cover(opened(chance.there.picture(shot)), (512, 512))  # large enough to be trained on
        frames = [first, ImageOps.mirror(first), first.rotate(8)]
        path = chance.replaced(shot, ending)
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=120)
        return path

    return spoil


def _small(chance: Chance, shot: Shot) -> Path:
    picture = opened(chance.there.picture(shot))
    side = int(chance.rng.integers(110, 250))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    save(picture, chance.there.picture(shot))
    return chance.there.picture(shot)


def _large(chance: Chance, shot: Shot) -> Path:
    share = int(chance.rng.integers(3000, 3600)) / max(shot.width, shot.height)
    identity, size = chance.there.album.identity, (round(shot.width * share), round(shot.height * share))
    path = chance.replaced(shot, ".jpg")
    save(photograph(identity, shot.scene, shot.jitter, *size), path)
    return path


def _enlarged(factor: float) -> Callable[[Chance, Shot], Path]:
    """Shrink and enlarge."""

    def spoil(chance: Chance, shot: Shot) -> Path:
        picture = opened(chance.there.picture(shot))
        small = picture.resize((round(shot.width / factor), round(shot.height / factor)), Image.Resampling.LANCZOS)
        how = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)[chance.rng.integers(3)]
        save(small.resize(picture.size, how), chance.there.picture(shot))
        return chance.there.picture(shot)

    return spoil


def _copy(make: Callable[[Chance, Image.Image], Image.Image] | None, quality: int, kind: str = "duplicate") -> Planter:
    """Write a second file of one photo, with a caption of its own; None copies the bytes."""

    def plant(chance: Chance) -> Plant:
        (shot,) = chance.shots(1)
        source = chance.there.picture(shot)
        copy = source.with_name(f"copy of {shot.stem}{source.suffix if make is None else '.jpg'}")
        if make is None:
            shutil.copyfile(source, copy)
        else:
            save(make(chance, opened(source)), copy, quality)
        caption = chance.there.caption(shot)
        shutil.copyfile(caption, caption.with_name(copy.stem + caption.suffix))
        return Plant(kind, (copy,), (source,))

    return plant


def _same(chance: Chance, picture: Image.Image) -> Image.Image:
    return picture


def _resized(chance: Chance, picture: Image.Image) -> Image.Image:
    return picture.resize((round(picture.width * 0.7), round(picture.height * 0.7)), Image.Resampling.LANCZOS)


def _trimmed(chance: Chance, picture: Image.Image) -> Image.Image:
    """Cut 1 to 5 % off every edge."""
    left, top, right, bottom = chance.rng.uniform(0.01, 0.05, 4)
    width, height = picture.size
    return picture.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))


def _mirrored(chance: Chance, picture: Image.Image) -> Image.Image:
    return ImageOps.mirror(picture)


def _link(chance: Chance) -> Plant:
    outside = chance.there.root.parent / "elsewhere.jpg"
    link = chance.there.folder / "from my phone.jpg"
    album, jitter = chance.there.album, int(chance.rng.integers(2**31))
    save(photograph(album.identity, sample_scene(chance.rng, sketches=0.0), jitter, 768, 768), outside)
    link.symlink_to(outside)
    return Plant("link", (link,), also=("caption_missing",))


def _sub_folder(name: str) -> Planter:
    """Put photos away in a folder whose name is not Kohya's."""

    def plant(chance: Chance) -> Plant:
        folder = chance.there.root / name
        folder.mkdir()
        for shot in chance.shots(2):
            for path in (chance.there.picture(shot), chance.there.caption(shot)):
                path.rename(folder / path.name)
        return Plant("folder", (folder,))

    return plant


def _alike(kind: str, share: float, *parts: str) -> Planter:
    """Take a share of the set again with these parts of the scene as in one of its shots."""

    def plant(chance: Chance) -> Plant:
        album = chance.there.album
        shots = chance.shots(math.ceil(share * len(album.shots)))
        same = {part: getattr(shots[0].scene, part) for part in parts}
        for shot in shots:
            again = replace(shot, scene=replace(shot.scene, **same))
            picture = photograph(album.identity, again.scene, again.jitter, again.width, again.height)
            save(picture, chance.there.picture(shot))
            chance.there.caption(shot).write_text(album.caption(again) + "\n", encoding="utf-8")
        return Plant(kind)

    return plant


def _both_sides(chance: Chance) -> Plant:
    """Mirror three tenths of the photos, as phones do with selfies."""
    shots = chance.shots(math.ceil(0.3 * len(chance.there.album.shots)))
    paths = tuple(chance.there.picture(shot) for shot in shots)
    for path in paths:
        save(ImageOps.mirror(opened(path)), path)
    return Plant("mixed_mirror", paths)


def _noise(chance: Chance) -> bytes:
    return chance.rng.bytes(20_000)


def _html(chance: Chance) -> bytes:
    """Write what a failed download leaves under a photo's name."""
    return b"<!doctype html><html><title>404 Not Found</title></html>"


def _nothing(chance: Chance) -> bytes:
    return b""


WHOLE: dict[str, tuple[Planter, ...]] = {
    "one_background": (_alike("one_background", 1.0, "background"), _alike("one_background", 0.85, "background")),
    "one_outfit": (_alike("one_outfit", 1.0, "shirt"), _alike("one_outfit", 0.85, "shirt")),
    "one_pose": (_alike("one_pose", 1.0, "gaze", "framing"), _alike("one_pose", 0.85, "gaze", "framing")),
    "mixed_mirror": (_both_sides,),
}
FILES: dict[str, tuple[Planter, ...]] = {
    "unreadable": (
        each("unreadable", _bytes(_noise)),
        each("unreadable", _bytes(_html)),
        each("unreadable", _bytes(_noise, ".heic")),
    ),
    "truncated": (each("truncated", _cut(".jpg")), each("truncated", _cut(".png"))),
    "empty": (each("empty", _bytes(_nothing)),),
    "too_large": (each("too_large", _bomb(9000), count=1), each("too_large", _bomb(15_000), count=1)),
    "sixteen_bit": (each("sixteen_bit", _sixteen_bit),),
    "cmyk": (each("cmyk", _cmyk),),
    "alpha": (each("alpha", _cut_out),),
    "rotated": (each("rotated", _lying),),
    "animated": (each("animated", _animated(".gif")), each("animated", _animated(".webp"))),
    "small": (each("small", _small, "small_face"),),
    "large": (each("large", _large, count=1),),
    "upscaled": tuple(each("upscaled", _enlarged(factor), "blurred_face") for factor in (2, 3, 4)),
    "duplicate": (_copy(None, 0), _copy(_same, 60), _copy(_resized, 90), _copy(_trimmed, 92)),
    "mirrored_duplicate": (_copy(_mirrored, 85, "mirrored_duplicate"),),
    "folder": (_sub_folder("old ones"), _sub_folder("backup_2023")),
    "link": (_link,),
}


def stream(half: int, kind: str, number: int) -> np.random.Generator:
    """Return the random stream of one faulty set."""
    return np.random.default_rng([STREAM, half, *kind.encode(), number])
