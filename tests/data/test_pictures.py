import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lorasweep.data.pictures import cover, load_pixels, open_picture
from lorasweep.errors import UserError


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


def png(kind: int, pixels: np.ndarray, more: list[bytes] | None = None) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour: [H, W, C] big-endian."""
    height, width = pixels.shape[:2]
    start = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in [start, *(more or []), b"IDAT" + zlib.compress(rows), b"IEND"]
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


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png", "moving.tif"])
def test_only_the_first_frame_of_an_animation_counts(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(tmp_path / name) as opened:
        assert opened.n_frames == 2
    assert load_pixels(tmp_path / name)[0, 0].tolist() == [255, 0, 0]


def test_the_jpeg_with_a_second_picture_that_phones_write_is_read(tmp_path):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ((200, 40, 40), (40, 40, 200)))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    assert np.abs(load_pixels(tmp_path / "phone.jpg")[8, 8].astype(int) - [200, 40, 40]).max() <= 3


RAMP = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
OPAQUE = np.full((64, 64), 65535)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [(2, [RAMP, RAMP, RAMP]), (4, [RAMP, OPAQUE]), (6, [RAMP, RAMP, RAMP, OPAQUE])],
    ids=["colour", "gray and alpha", "colour and alpha"],
)
def test_sixteen_bits_a_channel_are_scaled_not_clipped(tmp_path, kind, channels):
    (tmp_path / "deep.png").write_bytes(png(kind, np.stack(channels, axis=2).astype(">u2")))
    read = load_pixels(tmp_path / "deep.png")
    assert np.abs(read - (RAMP / 257)[..., None]).max() <= 1


def test_half_transparent_sixteen_bit_gray_lets_half_of_the_ground_through(tmp_path):
    pixels = np.stack([OPAQUE, OPAQUE // 2], axis=2).astype(">u2")
    (tmp_path / "deep.png").write_bytes(png(4, pixels))
    assert np.abs(load_pixels(tmp_path / "deep.png").astype(int) - 192).max() <= 1


def test_the_one_transparent_tone_of_a_sixteen_bit_picture_is_composited(tmp_path):
    (tmp_path / "deep.png").write_bytes(png(0, RAMP.astype(">u2")[..., None], [b"tRNS" + struct.pack(">H", 0)]))
    read = load_pixels(tmp_path / "deep.png")
    assert read[0, 0].tolist() == [128, 128, 128]
    assert read[0, 1].tolist() == [0, 0, 0]
    assert read[63, 63].tolist() == [255, 255, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_white_is_zero_is_no_negative(tmp_path, bits):
    path = saved(tmp_path / "scan.tif", Image.fromarray((RAMP / (257 if bits == 8 else 1)).astype(f"u{bits // 8}")))
    content = path.read_bytes()
    black_is_zero = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(black_is_zero) == 1
    path.write_bytes(content.replace(black_is_zero, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))
    read = load_pixels(path)
    assert read[0, 0, 0] == 255
    assert read[63, 63, 0] == 0


@pytest.mark.parametrize("adobe", [True, False])
def test_a_cmyk_jpeg_is_no_negative_whether_adobe_turned_it_round_or_not(tmp_path, adobe):
    whole = BytesIO()
    Image.new("RGB", (32, 32), (200, 40, 40)).convert("CMYK").save(whole, "JPEG", quality=95)
    content = whole.getvalue()
    marker = content.index(b"\xff\xee")
    assert content[marker + 4 : marker + 9] == b"Adobe"
    length = struct.unpack(">H", content[marker + 2 : marker + 4])[0]
    plain = content[:marker] + content[marker + 2 + length :]
    (tmp_path / "press.jpg").write_bytes(content if adobe else plain)
    assert np.abs(load_pixels(tmp_path / "press.jpg")[16, 16].astype(int) - [200, 40, 40]).max() <= 6


UPRIGHT = {1: (0, 0), 2: (0, 30), 3: (10, 30), 4: (10, 0), 5: (0, 0), 6: (0, 10), 7: (30, 10), 8: (30, 0)}
"""EXIF orientation to row and column where the 10-pixel square in the stored picture's first corner ends up."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("ending", ["jpg", "tif", "webp"])
def test_every_orientation_is_turned_upright(tmp_path, orientation, ending):
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = load_pixels(saved(tmp_path / f"turned.{ending}", picture, exif=exif, quality=95))
    assert read.shape == ((20, 40, 3) if orientation < 5 else (40, 20, 3))
    rows, columns = np.nonzero(read[..., 0] > 128)
    assert (rows.min(), columns.min()) == UPRIGHT[orientation]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_that_is_damaged_says_nothing_about_the_pixels(tmp_path):
    broken = b"Exif\0\0II*\0\xff\xff\xff\xff"
    path = saved(tmp_path / "odd.jpg", Image.new("RGB", (16, 16), (200, 40, 40)), exif=broken)
    assert np.abs(load_pixels(path)[8, 8].astype(int) - [200, 40, 40]).max() <= 3


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and green exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_colour_profile_changes_the_colours(tmp_path, mode):
    picture = Image.new("RGB", (8, 8), (180, 60, 60))
    picture = picture.quantize(2) if mode == "P" else picture.convert(mode)
    read = load_pixels(saved(tmp_path / "wide.png", picture, icc_profile=swapped_profile()))
    assert np.abs(read[0, 0].astype(int) - [60, 180, 60]).max() <= 3


def test_a_palette_of_alphas_is_composited(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([250, 0, 0, 0, 0, 250])
    picture.putpixel((1, 0), 1)
    path = saved(tmp_path / "icon.png", picture, transparency=bytes([255, 128]))
    assert load_pixels(path)[0].tolist() == [[250, 0, 0], [64, 64, 189]]


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
