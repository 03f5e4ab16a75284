"""Image files of every kind against Pillow, and damaged ones: right pixels or one clear line."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from daam.dataset.pixels.decode import decode_images
from daam.dataset.pixels.image_file import decode_image, image_size
from daam.errors import DataError

HEIGHT, WIDTH = 24, 12
KINDS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]


def pixels(seed: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def seen_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def png(header: bytes, lines: bytes) -> bytes:
    """A PNG of any header: Pillow writes no colours of 16 bits and no impossible sizes."""
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize("kind", ["BMP", "PNG", "PPM", "TIFF"])
def test_formats_without_loss_give_their_pixels(kind: str) -> None:
    np.testing.assert_array_equal(decode_image(encoded(pixels(1), kind)), pixels(1))


def test_a_jpeg_gives_the_pixels_it_gives_in_a_domain() -> None:
    jpeg = simplejpeg.encode_jpeg(pixels(2))
    wanted = decode_images([jpeg], height=HEIGHT, width=WIDTH)[0].numpy()
    np.testing.assert_array_equal(decode_image(jpeg), wanted)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_an_image_is_turned_as_its_exif_says(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(pixels(3), kind, exif=exif)
    np.testing.assert_array_equal(decode_image(content), seen_by_pillow(content))
    assert sorted(image_size(content)) == [WIDTH, HEIGHT]


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA"])
def test_every_kind_of_pixel_becomes_rgb(mode: str) -> None:
    content = encoded(Image.fromarray(pixels(3)).convert(mode), "PNG")
    np.testing.assert_array_equal(decode_image(content), seen_by_pillow(content))


def test_cmyk_becomes_the_colours_it_was_made_from() -> None:
    smooth = np.tile(np.linspace(0, 255, WIDTH)[None, :, None], (HEIGHT, 1, 3)).astype(np.uint8)
    smooth[:, :, 2] = 200
    cmyk = Image.fromarray(smooth).convert("CMYK")
    for kind in ("JPEG", "TIFF"):
        found = decode_image(encoded(cmyk, kind, quality=95)).astype(int)
        assert np.abs(found - smooth).max() <= 4


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    image = Image.fromarray(pixels(3)).quantize(8)
    content = encoded(image, "PNG", transparency=bytes(range(8)))
    np.testing.assert_array_equal(decode_image(content), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_an_animation_gives_its_first_image(kind: str) -> None:
    images = [Image.fromarray(pixels(seed)).quantize(16).convert("RGB") for seed in (1, 2)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(images[0], kind, save_all=True, append_images=images[1:], **options)
    np.testing.assert_array_equal(decode_image(content), np.asarray(images[0]))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("counts", [(0, 65_535), (7_000, 8_000), (1_000, 60_000)])
def test_grey_of_16_bits_has_the_contrast_of_its_own_range(
    kind: str, counts: tuple[int, int]
) -> None:
    ramp = np.linspace(*counts, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    found = decode_image(encoded(Image.fromarray(ramp), kind)).astype(int)
    expected = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    assert np.abs(found - expected).max() <= 4
    assert (found.min(), found.max()) == (0, 255)


def test_a_dead_pixel_of_16_bits_does_not_take_the_contrast() -> None:
    ramp = np.linspace(7_000, 8_000, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    ramp[3, 4], ramp[5, 6] = 0, 65_535
    assert decode_image(encoded(Image.fromarray(ramp), "PNG")).std() > 60


def test_grey_of_16_bits_without_contrast_is_black() -> None:
    flat = np.full((HEIGHT, WIDTH), 7_000, np.uint16)
    assert not decode_image(encoded(Image.fromarray(flat), "PNG")).any()


@pytest.mark.parametrize("num_channels", [3, 4])
def test_colours_of_16_bits_keep_their_upper_eight(num_channels: int) -> None:
    deep = np.random.default_rng(4).integers(0, 65_536, (HEIGHT, WIDTH, num_channels))
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)
    kind = {3: 2, 4: 6}[num_channels]
    content = png(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, kind, 0, 0, 0), lines)
    np.testing.assert_array_equal(decode_image(content), (deep >> 8)[:, :, :3])


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="floating-point"):
        decode_image(encoded(Image.fromarray(pixels(5)[:, :, 0].astype(np.float32)), "TIFF"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height"), [(65_000, 1_300), (70_000, 4), (4, 70_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_size_that_is_too_large_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    content = png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"")
    for read in (decode_image, image_size):
        with pytest.raises(DataError, match="80,000,000"):
            read(content)


def test_a_jpeg_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    content = bytearray(encoded(pixels(7), "JPEG"))
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", 1_300, 65_000)
    with pytest.raises(DataError, match="80,000,000"):
        decode_image(bytes(content))


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 99, b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"an empty file|not an image in a format"):
        decode_image(content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_refused(kind: str, share: float) -> None:
    content = encoded(pixels(4, height=96, width=64), kind)
    with pytest.raises(DataError, match="image"):
        decode_image(content[: int(share * len(content))])


def test_damaged_exif_leaves_an_image_as_it_is() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    content = encoded(pixels(3), "JPEG", exif=exif)
    damaged = content.replace(b"Exif\0\0MM\0", b"Exif\0\0XX\1").replace(b"II*\0", b"XX\1\1")
    assert damaged != content
    np.testing.assert_array_equal(decode_image(damaged), simplejpeg.decode_jpeg(content))


def mutated_files() -> Iterator[tuple[str, bytes, np.ndarray, bytes]]:
    """6,000 times: kind, original, its pixels, and the original with a damage of four kinds."""
    generator = np.random.default_rng(6)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    colour = Image.fromarray(pixels(5))
    deep = Image.fromarray(pixels(5)[:, :, 0].astype(np.uint16) * 200)
    originals = [(kind, encoded(colour, kind)) for kind in KINDS] + [
        ("JPEG", encoded(colour, "JPEG", progressive=True, exif=exif)),
        ("JPEG", encoded(colour.convert("CMYK"), "JPEG")),
        ("PNG", encoded(colour.convert("RGBA").quantize(16), "PNG")),
        ("PNG", encoded(deep, "PNG", exif=exif)),
        ("TIFF", encoded(deep, "TIFF")),
        ("TIFF", encoded(colour, "TIFF", compression="tiff_lzw")),
        ("GIF", encoded(colour, "GIF", save_all=True, append_images=[Image.fromarray(pixels(6))])),
        ("WEBP", encoded(colour.convert("RGBA"), "WEBP", lossless=True)),
    ]
    for number in range(6_000):
        kind, original = originals[number % len(originals)]
        content = bytearray(original)
        place = int(generator.integers(len(content)))
        match number // len(originals) % 4:
            case 0:
                content[place] ^= int(generator.integers(1, 256))
            case 1:  # headers are where the structure is
                for at in generator.integers(0, min(64, len(content)), 3):
                    content[at] = int(generator.choice([0, 1, 127, 128, 255]))
            case 2:
                del content[place : place + int(generator.integers(1, 64))]
            case _:
                content[place:place] = generator.bytes(int(generator.integers(1, 16)))
        yield kind, original, decode_image(original), bytes(content)


@pytest.mark.filterwarnings("ignore:::PIL")  # Pillow says what it does not trust
def test_six_thousand_damaged_files_give_pixels_or_one_clear_line() -> None:
    results = Counter[tuple[str, str]]()
    messages: list[str] = []
    for kind, original, wanted, content in mutated_files():
        if content == original:
            np.testing.assert_array_equal(decode_image(content), wanted)
            continue
        try:
            found = decode_image(content)
        except DataError as error:
            messages.append(str(error))
            results[kind, "refused"] += 1
        else:
            assert found.dtype == np.uint8
            assert found.ndim == 3
            assert found.shape[2] == 3
            assert found.size
            assert found.flags.writeable
            results[kind, "decoded"] += 1
    assert all(len(message.splitlines()) == 1 for message in messages)
    assert all(results[kind, "refused"] > 20 for kind in KINDS)
