"""Pictures of every mode, bit depth and orientation: right in RGB, or refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.media_files import quarter, write_png

from s2robot.errors import CorruptFileError
from s2robot.preprocessing.picture_files import (
    PictureError,
    as_rgb,
    read_animation,
    read_picture,
    to_8_bits,
)

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (6, 8), dtype=np.uint8)


def sideways(path, orientation, **options):
    image = Image.fromarray(quarter())
    exif = image.getexif()
    exif[0x112] = orientation
    image.save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tiff"])
def test_the_orientation_in_the_metadata_is_applied(tmp_path, ending, orientation):
    options = {"lossless": True} if ending == ".webp" else {}
    path = sideways(tmp_path / f"a{ending}", orientation, **options)
    with Image.open(path) as image:
        image.load()
        expected = np.asarray(ImageOps.exif_transpose(image))
    with Image.open(path) as image:
        found = as_rgb(image)
    assert found.shape == ((80, 40, 3) if orientation > 4 else (40, 80, 3))
    assert np.array_equal(found, expected)
    if ending != ".tiff":
        assert np.array_equal(read_picture(path), expected)


def test_a_picture_to_turn_clockwise_has_its_white_quarter_at_the_upper_right(tmp_path):
    found = read_picture(sideways(tmp_path / "a.png", 6))
    assert (found[:40, 20:] == 255).all()
    assert found.sum() == 40 * 20 * 3 * 255


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_orientation_that_does_not_exist_changes_nothing(tmp_path, value):
    assert np.array_equal(read_picture(sideways(tmp_path / "a.png", value)), quarter())


def _exif_of(*entries):
    """Return EXIF with entries (tag, type, count, four bytes of value)."""
    head = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries))
    return head + b"".join(struct.pack(">HHI4s", *entry) for entry in entries) + bytes(4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(
    "others",
    [
        [(0x0132, 1, 1, b"\xff\xff\0\0"), (0x828D, 10, 1, b"\0\0\0\x08")],
        [(0x9000, 99, 1, bytes(4)), (0x011A, 5, 1, b"\0\0\xff\xff")],
        [(0x8769, 4, 1, b"\0\0\0\x08"), (0x927C, 7, 900, b"\0\0\0\x08")],
    ],
)
def test_odd_metadata_beside_the_orientation_does_no_harm(tmp_path, ending, others):
    exif = _exif_of((0x112, 3, 1, b"\0\6\0\0"), *others)
    Image.fromarray(quarter()).save(tmp_path / f"a{ending}", exif=exif)
    found = read_picture(tmp_path / f"a{ending}").astype(int)
    assert np.abs(found - np.rot90(quarter(), -1)).max() < 60


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage, garbage", b"Exif\0\0MM", _exif_of((0x112, 2, 2, b"6\0\0\0"))]
)
def test_metadata_that_cannot_be_read_names_no_orientation(tmp_path, ending, exif):
    Image.fromarray(quarter()).save(tmp_path / f"a{ending}", exif=exif)
    assert read_picture(tmp_path / f"a{ending}").shape == (40, 80, 3)


def test_a_decoded_picture_is_turned_too_and_is_not_changed(tmp_path):
    with Image.open(sideways(tmp_path / "a.png", 6)) as image:
        image.load()
    assert as_rgb(image).shape == (80, 40, 3)
    assert image.size == (80, 40)
    assert image.getexif()[0x112] == 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "HSV", "YCbCr", "CMYK", "RGBX", "LAB"])
def test_modes_with_colors_come_out_as_pillow_converts_them(mode):
    image = Image.fromarray(COLORS).convert(mode)
    assert np.array_equal(as_rgb(image), np.asarray(image.convert("RGB")))
    assert np.abs(as_rgb(Image.fromarray(COLORS).convert("CMYK")).astype(int) - COLORS).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa"])
def test_opaque_pictures_with_an_alpha_channel_lose_it(mode):
    image = Image.fromarray(GRAY).convert("LA" if mode == "La" else "RGBA").convert(mode)
    assert image.mode == mode
    assert np.array_equal(as_rgb(image), np.dstack([GRAY] * 3))


def test_an_opaque_palette_with_an_alpha_channel_gives_its_colors():
    image = Image.fromarray(COLORS).convert("RGBA").convert("PA")
    assert np.array_equal(as_rgb(image), np.asarray(image.convert("RGBA"))[..., :3])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pictures_are_refused_with_the_share_of_such_pixels(mode):
    image = Image.fromarray(COLORS).convert(mode)
    image.putpixel((2, 3), (*[9] * (len(mode) - 1), 254))
    with pytest.raises(PictureError, match=r"transparent in 2\.1% .* Image\.alpha_composite"):
        as_rgb(image)


def test_a_transparent_palette_color_is_refused_only_where_a_pixel_has_it(tmp_path):
    image = Image.fromarray(GRAY % 4).convert("P")
    image.putpalette([0, 0, 0, 80, 80, 80, 160, 160, 160, 240, 240, 240, 1, 2, 3])
    image.putdata((GRAY % 4).ravel().tolist())
    image.save(tmp_path / "opaque.png", transparency=4)
    image.save(tmp_path / "holes.png", transparency=3)
    image.save(tmp_path / "plain.gif")
    assert np.array_equal(read_picture(tmp_path / "opaque.png")[..., 0], GRAY % 4 * 80)
    assert np.array_equal(read_picture(tmp_path / "plain.gif")[..., 1], GRAY % 4 * 80)
    with pytest.raises(PictureError, match=r"holes\.png: the picture is transparent"):
        read_picture(tmp_path / "holes.png")


@pytest.mark.parametrize(
    "samples, bits, key",
    [
        (np.dstack([GRAY]), 8, [int(GRAY[0, 0])]),
        (np.dstack([GRAY]) % 16, 4, [int(GRAY[0, 0]) % 16]),
        (np.dstack([GRAY]) % 4, 2, [int(GRAY[0, 0]) % 4]),
        (np.dstack([GRAY]) % 2, 1, [int(GRAY[0, 0]) % 2]),
        (COLORS, 8, COLORS[0, 0].tolist()),
        (COLORS.astype(np.uint16) * 200 + 77, 16, (COLORS[0, 0].astype(int) * 200 + 77).tolist()),
    ],
)
def test_a_transparent_value_is_found_at_every_bit_depth(tmp_path, samples, bits, key):
    write_png(tmp_path / "a.png", samples, bits, key)
    with pytest.raises(PictureError, match=r"a\.png: the picture is transparent"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_of_few_bits_covers_black_to_white(tmp_path, bits):
    samples = np.dstack([GRAY]) >> (8 - bits)
    found = read_picture(write_png(tmp_path / "a.png", samples, bits))
    expected = np.round(samples / (2**bits - 1) * 255)
    assert np.array_equal(found, np.broadcast_to(expected, found.shape))


@pytest.mark.parametrize("channels", [3, 4])
def test_color_of_16_bits_is_rounded_exactly(tmp_path, channels):
    samples = RNG.integers(0, 65536, (40, 50, channels)).astype(np.uint16)
    samples[..., 3:] = 65535
    found = read_picture(write_png(tmp_path / "a.png", samples))
    assert np.array_equal(found, np.round(samples[..., :3] / 257).astype(np.uint8))


def test_color_of_16_bits_is_turned_upright(tmp_path):
    samples = quarter().astype(np.uint16) * 257
    data = write_png(tmp_path / "a.png", samples).read_bytes()
    turned = io.BytesIO()
    Image.fromarray(quarter()).save(turned, "PNG", exif=_exif(6))
    start = turned.getvalue().index(b"eXIf") - 4
    size = int.from_bytes(turned.getvalue()[start : start + 4], "big") + 12
    chunk = turned.getvalue()[start : start + size]
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    expected = np.asarray(ImageOps.exif_transpose(Image.open(turned)))
    assert np.array_equal(read_picture(tmp_path / "a.png"), expected)


def _exif(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def test_16_bits_are_rounded_for_every_value():
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_8_bits(values), np.round(values / 257).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 2])
def test_gray_of_16_bits_is_refused_as_a_possible_depth_map(tmp_path, channels):
    samples = np.full((6, 8, channels), 65535, np.uint16)
    samples[..., 0] = 1500
    write_png(tmp_path / "depth.png", samples)
    with pytest.raises(PictureError, match=r"depth\.png: .*depth maps.*Scale the range"):
        read_picture(tmp_path / "depth.png")


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B"])
def test_modes_without_a_known_range_are_refused(mode):
    with pytest.raises(PictureError, match=f"more than 8 bits.*mode {mode}"):
        as_rgb(Image.new(mode, (4, 3)))


def test_cmyk_as_adobe_writes_it_is_not_inverted(tmp_path):
    ink = Image.fromarray(quarter()).convert("CMYK")
    ink.save(tmp_path / "a.jpg", quality=100)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    difference = read_picture(tmp_path / "a.jpg").astype(int) - quarter()
    assert np.abs(difference).max() < 8


def test_the_first_picture_of_a_phones_mpo_file_is_read(tmp_path):
    pair = [Image.fromarray(quarter()), Image.new("RGB", (80, 40), "red")]
    pair[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pair[1:], quality=100)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - quarter()).max() < 8


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_an_animated_file_is_not_one_picture(tmp_path, ending):
    frames = [Image.fromarray(np.roll(quarter(), 9 * i, 1)) for i in range(3)]
    frames[0].save(tmp_path / f"a{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match=rf"a\{ending}: the picture is animated \(3 frames\)"):
        read_picture(tmp_path / f"a{ending}")


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png", ".jpg", ".bmp"])
def test_truncated_pictures_are_an_error_that_names_the_file(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    Image.fromarray(np.tile(COLORS, (9, 9, 1))).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(CorruptFileError, match=rf"a\{ending} cannot be read as a picture"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_other_files_are_refused_whatever_their_ending(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"a\.png cannot be read as a picture"):
        read_picture(tmp_path / "a.png")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture .*none"):
        read_picture(tmp_path / "none.png")


def test_a_picture_with_more_pixels_than_pillow_allows_is_refused(tmp_path, monkeypatch):
    Image.fromarray(quarter()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CorruptFileError, match=r"a\.png .*limit"):
        read_picture(tmp_path / "a.png")


def test_a_still_picture_is_an_animation_of_one_frame(tmp_path):
    samples = RNG.integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    path = write_png(tmp_path / "a.png", samples)
    (frame,) = read_animation(path)
    assert np.array_equal(frame, read_picture(path))
