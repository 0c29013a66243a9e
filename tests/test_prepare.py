"""Every awkward file handled on purpose, and every resize policy."""

import io
import struct
import threading
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from eyesight.data import prepare as preparing
from eyesight.data.prepare import (
    INTERPOLATIONS,
    BadPicture,
    Preparation,
    decode,
    encode_png,
    fits,
    prepare,
    prepare_all,
    quiet,
    read,
)

AS_IS = Preparation(channels=3)


def drawn(height=40, width=30):
    """A smooth colour picture whose corners differ: red to the right, green downwards, a blue top
    left corner.
    """
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack(
        [columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1), np.zeros_like(rows)],
        axis=2,
    ).astype(np.uint8)
    pixels[: height // 4, : width // 4, 2] = 255
    return pixels


def encode(picture, format, **options):
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth=8, colour=0, rows=b"", extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def kinds(data):
    return [kind for kind, _ in decode(data)[1]]


def refusal(data):
    with pytest.raises(BadPicture) as error:
        decode(data)
    return error.value.kind


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_every_value(format):
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    picture = drawn()
    assert np.array_equal(
        prepare(encode(picture, format, **options), AS_IS), picture.transpose(2, 0, 1)
    )


def test_jpeg_and_gif_come_close():
    picture = drawn().astype(int)
    for format, near in (("JPEG", 12), ("GIF", 30)):
        pixels = prepare(encode(picture.astype(np.uint8), format), AS_IS)
        assert np.abs(pixels.transpose(1, 2, 0).astype(int) - picture).mean() < near


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied_and_noted(orientation, format):
    stored = np.ascontiguousarray(
        TURNS[orientation](drawn())
    )  # as a camera held that way would store it
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, format, exif=exif)
    image, notes = decode(data)
    assert np.array_equal(np.asarray(image), drawn())
    assert ("rotated" in dict(notes)) == (orientation > 1)


def test_exif_of_a_jpeg_turns_it_and_damaged_exif_does_not_stop_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(drawn(), "JPEG", exif=exif)
    assert decode(data)[0].size == (40, 30)
    assert decode(encode(drawn(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))[0].size == (
        30,
        40,
    )
    exif[0x0112] = 9  # no such orientation
    assert kinds(encode(drawn(), "JPEG", exif=exif)) == []


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_the_colour_it_was(format):
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format)
    red, green, blue = prepare(data, AS_IS)[:, 4, 4].astype(int)
    assert (
        red > 250 and green < 5 and blue < 5
    )  # an Adobe JPEG stores it inverted: cyan would mean that was forgotten
    assert kinds(data) == ["cmyk"]


def test_palette_with_transparency_lies_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 200, 30, 255, 0, 0])
    image.putpixel((0, 0), 1)
    pixels = prepare(encode(image, "PNG", transparency=0), AS_IS)
    assert pixels[:, 2, 2].tolist() == [255, 255, 255] and pixels[:, 0, 0].tolist() == [255, 0, 0]
    assert prepare(encode(image, "PNG"), AS_IS)[:, 2, 2].tolist() == [10, 200, 30]


def test_grey_is_known_by_mode_and_by_palette():
    grey = Image.fromarray(drawn()).convert("L")
    assert decode(encode(grey, "PNG"))[0].mode == "L"
    assert decode(encode(grey, "GIF"))[0].mode == "L"
    assert decode(encode(grey.convert("LA"), "PNG"))[0].mode == "L"
    assert decode(encode(drawn(), "GIF"))[0].mode == "RGB"


def test_transparent_pictures_lie_on_white():
    assert prepare(encode(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG"), AS_IS).min() == 255
    assert prepare(encode(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"), AS_IS)[0, 0, 0] == 127
    assert (
        prepare(encode(Image.new("LA", (2, 2), (0, 0)), "PNG"), replace(AS_IS, channels=1)).min()
        == 255
    )
    assert prepare(encode(Image.new("L", (2, 2), 9), "PNG", transparency=9), AS_IS).min() == 255


def test_one_bit_is_black_and_white():
    image = Image.new("1", (4, 4), 0)
    image.putpixel((1, 2), 1)
    pixels = prepare(encode(image, "PNG"), replace(AS_IS, channels=1))
    assert pixels[0, 2, 1] == 255 and pixels.sum() == 255


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(format):
    deep = np.array([[0, 257, 25700, 65535], [128, 129, 40000, 300]], dtype=np.uint16)
    data = encode(deep, format)
    assert prepare(data, replace(AS_IS, channels=1))[0].tolist() == [
        [0, 1, 100, 255],
        [0, 1, 156, 1],
    ]
    assert kinds(data) == ["deep16"]


def test_sixteen_bits_of_the_other_byte_order_and_in_colour():
    assert prepare(encode(np.full((2, 2), 40000, dtype=">u2"), "TIFF"), AS_IS)[0, 0, 0] == 156
    colour = png(2, 1, depth=16, colour=2, rows=b"\0" + b"\x40\x41\x00\x00\xff\xff" * 2)
    assert prepare(colour, AS_IS)[:, 0, 0].tolist() == [64, 0, 255] and kinds(colour) == ["deep16"]
    grey = png(2, 1, depth=16, colour=4, rows=b"\0" + b"\x40\x41\xff\xff" * 2)
    assert decode(grey)[0].mode == "L"


def test_decimal_tiff_is_scaled_by_its_range():
    values = np.linspace(-3, 9, 6, dtype=np.float32).reshape(2, 3)
    data = encode(values, "TIFF")
    assert prepare(data, replace(AS_IS, channels=1))[0].tolist() == [[0, 51, 102], [153, 204, 255]]
    assert kinds(data) == ["float"]
    values[0, 0] = np.nan
    assert prepare(encode(values, "TIFF"), AS_IS)[0, 0, 0] == 0
    assert prepare(encode(np.full((2, 2), 7.0, dtype=np.float32), "TIFF"), AS_IS).max() == 0
    assert refusal(encode(np.full((2, 2), np.nan, dtype=np.float32), "TIFF")) == "unreadable"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert prepare(data, AS_IS)[:, 0, 0].tolist() == [255, 0, 0]
    assert kinds(data) == ["animated"]


def test_a_camera_file_with_a_second_picture_is_a_jpeg():
    data = encode(
        Image.new("RGB", (8, 8)), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))]
    )
    assert (read(data).format, read(data).notes) == ("JPEG", ())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_cut_files_are_refused_never_half_shown(format):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, format)
    for length in (len(data) // 4, len(data) // 2, len(data) * 3 // 4):
        assert refusal(data[:length]) == "truncated"


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_a_jpeg_without_its_end_is_truncated(options):
    data = encode(drawn(), "JPEG", **options)
    assert refusal(data[:-2]) == "truncated"
    assert (
        refusal(data[:20]) == "truncated"
    )  # within the header, where Pillow only says that it knows no such format


def test_a_compressed_tiff_cut_in_half_is_truncated():
    data = encode(drawn(), "TIFF", compression="tiff_lzw")
    assert refusal(data[: len(data) // 2]) == "truncated"


def test_bytes_that_are_no_picture():
    assert refusal(b"") == "empty"
    assert refusal(b"once upon a time " * 20) == "unreadable"
    assert refusal(b"<html><body>404</body></html>") == "unreadable"
    assert (
        refusal(encode(Image.new("RGB", (16, 16)), "ICO")) == "unreadable"
    )  # a format that is not on the list
    broken = bytearray(png(10, 10, rows=(b"\0" + bytes(10)) * 10))
    broken[-20] ^= 255
    assert refusal(bytes(broken)) == "unreadable"


@pytest.mark.parametrize("side", [8193, 12_000, 20_000])
def test_huge_pictures_are_refused_from_the_header(side):
    assert (
        refusal(png(side, side, colour=2)) == "huge"
    )  # there are no pixels in the file: whoever decodes, says truncated


def test_bombs_in_text_and_profile_are_refused():
    bomb = b"k\0\0" + zlib.compress(bytes(30_000_000))
    for kind in (b"zTXt", b"iCCP"):
        assert (
            refusal(png(10, 10, rows=(b"\0" + bytes(10)) * 10, extra=chunk(kind, bomb)))
            == "unreadable"
        )


def test_grey_and_colour():
    picture = drawn()
    grey = prepare(picture, Preparation(channels=1))
    assert np.array_equal(grey[0], np.asarray(Image.fromarray(picture).convert("L")))
    assert np.array_equal(prepare(grey[0], AS_IS), np.repeat(grey, 3, axis=0))


def test_arrays_of_every_shape():
    grey = drawn()[:, :, 0]
    assert np.array_equal(prepare(grey, Preparation(channels=1))[0], grey)
    assert np.array_equal(prepare(grey[:, :, None], Preparation(channels=1))[0], grey)
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    assert prepare(clear, AS_IS).min() == 255
    with pytest.raises(ValueError, match="float32"):
        prepare(grey.astype(np.float32), AS_IS)


@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(20, 20), (7, 31), (64, 48), (1, 1)])
@pytest.mark.parametrize("shape", [(40, 30), (3, 200), (1, 1), (224, 224)])
def test_every_policy_ends_with_the_size_it_promises(resize, size, shape):
    how = Preparation(*size, 3, resize, pad=2, padding="replicate")
    for fraction in (1.0, 0.875):
        pixels = prepare(drawn(*shape), replace(how, crop_fraction=fraction))
        assert (
            pixels.shape == how.shape
            and pixels.dtype == np.uint8
            and pixels.flags.c_contiguous
            and pixels.flags.writeable
        )


def test_squash_keeps_all_and_crop_cuts_the_middle():
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    assert prepare(wide, Preparation(20, 20, 3, "crop")).min() == 255
    squashed = prepare(wide, Preparation(20, 20, 3, "squash"))
    assert squashed[0, 10, 0] == 0 and squashed[0, 10, 10] == 255


def test_letterbox_fills_with_zeros_or_edges():
    wide = np.full((10, 40), 200, dtype=np.uint8)
    zero = prepare(wide, Preparation(20, 20, 1, "letterbox"))[0]
    assert zero[0, 0] == 0 and zero[10, 10] == 200 and (zero > 0).sum() == 5 * 20
    assert prepare(wide, Preparation(20, 20, 1, "letterbox", padding="replicate")).min() == 200


def test_none_keeps_or_refuses():
    assert np.array_equal(
        prepare(drawn(), Preparation(40, 30, 3, "none")), drawn().transpose(2, 0, 1)
    )
    with pytest.raises(BadPicture, match="30 x 40 where 28 x 28"):
        prepare(drawn(), Preparation(28, 28, 3, "none"))


def test_the_result_may_be_written_to():
    assert all(
        prepare(drawn()[:, :, 0], Preparation(channels=channels)).flags.writeable
        for channels in (1, 3)
    )


def test_pad_adds_zeros_or_edges():
    ones = np.ones((4, 4), dtype=np.uint8)
    padded = prepare(ones, Preparation(4, 4, 1, pad=2))
    assert padded.shape == (1, 8, 8) and padded.sum() == 16
    assert prepare(ones, Preparation(4, 4, 1, pad=2, padding="replicate")).sum() == 64


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    for interpolation in ("bilinear", "bicubic", "area"):
        small = prepare(stripes, Preparation(8, 8, 1, interpolation=interpolation))
        assert (
            np.abs(small.astype(int) - 127).max() < 10
        )  # taking every eighth column would give all 255


def test_crop_fraction_drops_the_margin():
    framed = np.full((80, 80), 255, dtype=np.uint8)
    framed[8:72, 8:72] = 0
    assert prepare(framed, Preparation(16, 16, 1)).max() == 255
    assert prepare(framed, Preparation(16, 16, 1, crop_fraction=0.6)).max() == 0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wanted", [1, 3])
@pytest.mark.parametrize("padding", ["zero", "replicate"])
def test_the_loopless_path_gives_the_same_values(channels, wanted, padding):
    pixels = np.random.default_rng(0).integers(0, 256, (5, channels, 9, 7), dtype=np.uint8)
    how = Preparation(9, 7, wanted, pad=1, padding=padding)
    one_by_one = [prepare(picture.transpose(1, 2, 0), how) for picture in pixels]
    assert np.array_equal(prepare_all(pixels, how), np.stack(one_by_one))


def test_what_needs_resizing_does_not_fit():
    pixels = np.zeros((2, 1, 9, 7), dtype=np.uint8)
    assert fits(pixels, Preparation()) and fits(pixels, Preparation(9, 7))
    assert not fits(pixels, Preparation(7, 9)) and not fits(pixels, Preparation(crop_fraction=0.9))


def test_a_preparation_survives_json():
    how = Preparation(28, 20, 1, "letterbox", 2, "replicate", "bicubic", 0.875)
    assert Preparation.from_dict(how.to_dict()) == how
    assert how.shape == (1, 32, 24)


def test_png_round_trip():
    for pixels in (drawn().transpose(2, 0, 1), drawn()[None, :, :, 0]):
        assert np.array_equal(
            prepare(encode_png(pixels), Preparation(channels=len(pixels))), pixels
        )


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    barrier = threading.Barrier(4)

    def enter():
        barrier.wait()
        for _ in range(200):
            with quiet():
                pass

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.parametrize("size", [(2, 700), (700, 2), (50, 65), (100, 50), (9, 7)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
def test_columns_are_resized_before_rows_by_every_pillow(size, interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    resample = INTERPOLATIONS[interpolation]
    wide = Image.fromarray(pixels).resize((64, size[1]), resample)
    expected = np.asarray(wide.resize((64, 64), resample)).transpose(2, 0, 1)
    preparation = Preparation(64, 64, 3, interpolation=interpolation)
    assert np.array_equal(prepare(pixels, preparation), expected)


@pytest.mark.parametrize("size", [(2, 700), (700, 2), (3, 900)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
def test_the_kept_part_of_a_thin_picture_is_that_of_the_whole(size, interpolation, monkeypatch):
    # Black and white: bicubic overshoots, and what is cut off depends on the order of directions.
    random = np.random.default_rng(1)
    pixels = 255 * random.integers(0, 2, (size[1], size[0], 3), dtype=np.uint8)
    preparation = Preparation(160, 160, 3, "crop", interpolation=interpolation)
    monkeypatch.setattr(preparing, "MOST_BETWEEN", 1 << 40)
    whole = prepare(pixels, preparation).astype(int)
    monkeypatch.setattr(preparing, "MOST_BETWEEN", 0)
    part = prepare(pixels, preparation).astype(int)
    assert np.abs(whole - part).max() <= 1
