import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lorasweep.data.errors import UserError
from lorasweep.data.pictures import cover, load_pixels, open_picture


def saved(path: Path, picture: Image.Image, **options) -> Path:
    picture.save(path, **options)
    return path


def gradient(side: int = 64) -> Image.Image:
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    across, down = np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side))
    return Image.fromarray(np.stack([across, down, np.full((side, side), 90, np.uint8)], axis=2))


def header_of(width: int, height: int) -> bytes:
    """A PNG that says it is huge and holds next to nothing."""
    start = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [start, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = load_pixels(saved(tmp_path / "deep.png", Image.fromarray(values)))
    assert pixels.shape == (64, 64, 3)
    assert abs(float(pixels.mean()) - 127.5) < 1
    assert np.abs(pixels[..., 0].astype(float) - values / 257).max() <= 1


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path):
    values = np.full((32, 32), 200, np.uint16)
    assert load_pixels(saved(tmp_path / "dark.png", Image.fromarray(values))).max() <= 1


def test_floating_point_tiffs_are_read_on_their_own_scale(tmp_path):
    picture = Image.fromarray(np.full((16, 16), 0.5, np.float32))
    assert np.unique(load_pixels(saved(tmp_path / "float.tif", picture))).tolist() == [128]


def test_transparency_becomes_neutral_gray_whatever_colour_hides_under_it(tmp_path):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 0] = 255
    pixels[:8, :, 3] = 255
    read = load_pixels(saved(tmp_path / "alpha.png", Image.fromarray(pixels)))
    assert read[0, 0].tolist() == [255, 0, 0]
    assert read[15, 0].tolist() == [128, 128, 128]


def test_a_palette_with_a_transparent_entry_is_composited_too(tmp_path):
    picture = Image.new("P", (16, 16), 0)
    picture.putpalette([250, 0, 0, 0, 0, 250] + [0] * 762)
    picture.paste(1, (0, 0, 8, 16))
    read = load_pixels(saved(tmp_path / "palette.png", picture, transparency=0))
    assert read[0, 0].tolist() == [0, 0, 250]
    assert read[0, 15].tolist() == [128, 128, 128]


def test_a_cmyk_jpeg_comes_out_in_rgb(tmp_path):
    path = saved(tmp_path / "press.jpg", Image.new("RGB", (32, 32), (200, 40, 40)).convert("CMYK"))
    assert np.abs(load_pixels(path)[16, 16].astype(int) - [200, 40, 40]).max() <= 6


def test_a_photo_taken_sideways_is_turned_upright(tmp_path):
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    read = load_pixels(saved(tmp_path / "sideways.png", picture, exif=exif))
    assert read.shape == (40, 20, 3)
    assert read[2, 10, 0] == 255
    assert read[37, 10, 0] == 0


def test_a_colour_profile_is_applied(tmp_path):
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    plain = Image.new("RGB", (8, 8), (180, 60, 60))
    ignored = load_pixels(saved(tmp_path / "mismatch.png", plain, icc_profile=swapped))
    assert ignored[0, 0].tolist() == [180, 60, 60]
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = load_pixels(saved(tmp_path / "same.png", plain, icc_profile=srgb))
    assert np.abs(kept[0, 0].astype(int) - [180, 60, 60]).max() <= 1


def test_only_the_first_frame_of_an_animation_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert load_pixels(tmp_path / "moving.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["half.png", "half.jpg"])
def test_a_truncated_picture_is_refused(tmp_path, name):
    whole = BytesIO()
    gradient(256).save(whole, "PNG" if name.endswith("png") else "JPEG")
    (tmp_path / name).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(UserError, match=f"{name} is truncated or damaged"):
        open_picture(tmp_path / name)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (9_000, 9_000)])
def test_a_bomb_is_refused_from_its_header(tmp_path, width, height):
    (tmp_path / "bomb.png").write_bytes(header_of(width, height))
    with pytest.raises(UserError, match=r"bomb.png has .* megapixels; at most 64 are accepted"):
        open_picture(tmp_path / "bomb.png")


def test_an_empty_file_and_a_text_called_jpg_are_refused(tmp_path):
    (tmp_path / "nothing.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"nothing.jpg is empty \(0 bytes\)"):
        open_picture(tmp_path / "nothing.jpg")
    with pytest.raises(UserError, match=r"text.jpg is not a picture that can be read"):
        open_picture(tmp_path / "text.jpg")


def test_a_format_outside_the_list_is_refused_under_any_name(tmp_path):
    gradient().save(tmp_path / "real.ppm")
    (tmp_path / "fake.png").write_bytes((tmp_path / "real.ppm").read_bytes())
    with pytest.raises(UserError, match=r"fake.png is not a picture that can be read"):
        open_picture(tmp_path / "fake.png")


def test_cover_fills_the_frame_and_cuts_both_sides_evenly():
    picture = Image.new("RGB", (300, 100), "black")
    picture.paste((255, 255, 255), (100, 0, 200, 100))
    assert np.asarray(cover(picture, 50, 50)).min() > 235
    assert cover(picture, 64, 32).size == (64, 32)
