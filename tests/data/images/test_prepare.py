"""Decoding of real files, whole and broken: every mode, every EXIF orientation, and one clear error each."""

from __future__ import annotations

import io
import struct
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from rate.data.images.geometry import Geometry
from rate.data.images.prepare import check_resize, load_image, load_mask, pixel_path, prepare
from rate.data.storage import limits
from rate.errors import ConfigError, SampleError
from rate.types import Sample

GEOMETRY = Geometry(16, 16, (0.0,) * 3, (1.0,) * 3)
ALL = ((0.0, 0.0, 1e9, 1e9),)


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """Smooth, so that JPEG keeps it, and different at every corner."""
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), np.full_like(x, 90)], axis=2)
    return Image.fromarray(values.astype(np.uint8))


def saved(image: Image.Image, path: Path, **options: object) -> str:
    image.save(path, **options)
    return str(path)


def sample(image: str, **region: object) -> Sample:
    return Sample("s", "dog", image, **(region or {"boxes": ALL}))


def failure(item: Sample) -> str:
    with pytest.raises(SampleError) as caught:
        prepare(item, GEOMETRY)
    return str(caught.value)


def test_pixel_path_names_what_changes_pixels():
    assert pixel_path() == "pillow-bicubic/2"
    assert pixel_path("bilinear") == "pillow-bilinear/2"


def test_a_sample_becomes_pixels_and_region(tmp_path):
    item = sample(saved(picture(), tmp_path / "a.png"), boxes=((0.0, 0.0, 20.0, 30.0),))
    prepared = prepare(item, GEOMETRY)
    assert prepared.sample == item
    np.testing.assert_array_equal(prepared.picture.pixels, GEOMETRY.image_to_picture(picture()).pixels)
    assert prepared.region[:, :8].all()
    assert not prepared.region[:, 8:].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 1)])
def test_the_smallest_images(tmp_path, size):
    prepared = prepare(sample(saved(picture(*size), tmp_path / "a.png")), GEOMETRY)
    assert prepared.picture.pixels.shape == (3, 16, 16)
    assert prepared.region.all()


def test_urls_and_paths_give_the_same(tmp_path):
    path = saved(picture(), tmp_path / "a.png")
    fsspec.filesystem("memory").pipe("/prepare/a.png", Path(path).read_bytes())
    local, remote = (prepare(sample(place), GEOMETRY) for place in (path, "memory://prepare/a.png"))
    np.testing.assert_array_equal(local.picture.pixels, remote.picture.pixels)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("1", "png"),
        ("L", "jpg"),
        ("L", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("RGBA", "png"),
        ("CMYK", "jpg"),
        ("I;16", "png"),
        ("RGB", "webp"),
        ("RGB", "bmp"),
        ("RGB", "tif"),
        ("RGB", "ppm"),
        ("RGB", "gif"),
    ],
)
def test_every_mode_becomes_what_pillow_makes_of_it(tmp_path, mode, suffix):
    image = picture().convert("L").convert(mode) if mode in ("I;16", "LA") else picture().convert(mode)
    path = saved(image, tmp_path / f"a.{suffix}")
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(load_image(path)), expected)


def test_a_palette_with_alpha_keeps_its_colours(tmp_path):
    image = picture().convert("P")
    path = saved(image, tmp_path / "a.png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(np.asarray(load_image(path)), np.asarray(image.convert("RGB")))


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(path).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_keep_image_and_region_together(tmp_path, orientation, suffix):
    """The stored picture is turned; boxes and masks are drawn over the upright one, a white block on black."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[4:14, 6:30] = 255
    box = (6.0, 4.0, 30.0, 14.0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {6: 8, 8: 6}.get(orientation, orientation)  # the other turns undo themselves
    turned = Image.fromarray(upright)
    turned.getexif()[0x0112] = undo
    stored = ImageOps.exif_transpose(turned)
    path = saved(stored, tmp_path / f"a.{suffix}", exif=exif.tobytes(), **({"quality": 100} if suffix != "tif" else {}))
    mask = saved(Image.fromarray(upright[:, :, 0]), tmp_path / "mask.png")
    assert load_image(path).size == (48, 32)
    geometry = Geometry(32, 32, (0.0,) * 3, (1.0,) * 3)
    by_box = prepare(sample(path, boxes=(box,)), geometry)
    by_mask = prepare(sample(path, mask=mask), geometry)
    np.testing.assert_array_equal(by_box.picture.pixels[0] > 0.5, by_box.region)
    np.testing.assert_array_equal(by_mask.region, by_box.region)


def test_an_unknown_orientation_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    assert load_image(saved(picture(), tmp_path / "a.jpg", exif=exif.tobytes())).size == (40, 30)


# ------------------------------------------------------------------------------------------------------------ masks

OBJECT = np.zeros((30, 40), bool)
OBJECT[5:9, 7:21] = True


def mask_image(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(OBJECT.astype(np.uint16) * 256)  # its low byte is 0
    if mode == "I":
        return Image.fromarray(OBJECT.astype(np.int32) * 70_000)
    if mode == "P":
        image = Image.fromarray(OBJECT.astype(np.uint8) * 3, mode=None).convert("L")
        indexed = Image.new("P", image.size)
        indexed.putdata(list(image.tobytes()))
        indexed.putpalette([255, 255, 255, 9, 9, 9, 9, 9, 9, 0, 0, 0])  # index 0 is white, the object black
        return indexed
    if mode in ("LA", "RGBA"):
        opaque = Image.fromarray(OBJECT.astype(np.uint8)).convert(mode)
        opaque.putalpha(255)
        return opaque
    if mode == "RGB":
        blue = np.zeros((30, 40, 3), np.uint8)
        blue[OBJECT, 2] = 1
        return Image.fromarray(blue)
    return Image.fromarray(OBJECT.astype(np.uint8)).point(lambda v: v * 255).convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I", "I;16", "RGB", "LA", "RGBA"])
def test_masks_of_every_mode(tmp_path, mode):
    path = saved(mask_image(mode), tmp_path / ("mask.tif" if mode == "I" else "mask.png"))
    np.testing.assert_array_equal(load_mask(path).object, OBJECT)


def test_a_mask_of_another_size(tmp_path):
    image = saved(picture(40, 30), tmp_path / "a.png")
    mask = saved(Image.new("L", (40, 31)), tmp_path / "m.png")
    assert failure(sample(image, mask=mask)) == f"{mask}: the mask is 40 x 31 pixels; the upright image is 40 x 30"
    turned = saved(Image.new("L", (30, 40)), tmp_path / "t.png")
    assert "as the image before its EXIF rotation" in failure(sample(image, mask=turned))


def test_a_missing_mask(tmp_path):
    image = saved(picture(), tmp_path / "a.png")
    assert failure(sample(image, mask=str(tmp_path / "m.png"))).endswith("m.png: no such file")


def test_no_region_at_all(tmp_path):
    item = Sample("s", "dog", saved(picture(), tmp_path / "a.png"))
    assert failure(item) == "s: has neither boxes nor a mask"


# ------------------------------------------------------------------------------------------------------------ broken


def load_or_error(path: Path) -> Image.Image | str:
    try:
        return load_image(str(path))
    except SampleError as error:
        return str(error)


def test_missing_empty_and_folder(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert failure(sample(str(tmp_path / "none.jpg"))).endswith("none.jpg: no such file")
    assert failure(sample(str(tmp_path / "empty.jpg"))).endswith("empty.jpg: the file is empty (0 bytes)")
    assert failure(sample(str(tmp_path))).endswith("is not a regular file")


@pytest.mark.parametrize("content", [b"not an image", b"\x00", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_not_an_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert "a.jpg: is not an image that can be read (JPEG, PNG, " in failure(sample(str(path)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif", "ppm", "jp2", "avif"])
@given(share=st.floats(0, 0.95))
@settings(max_examples=25)
def test_cut_files_never_escape_as_another_error(tmp_path_factory, suffix, share):
    buffer = io.BytesIO()
    picture(64, 48).save(buffer, {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000"}.get(suffix, suffix))
    path = tmp_path_factory.mktemp("cut") / f"a.{suffix}"
    path.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
    outcome = load_or_error(path)
    assert path.name in outcome if isinstance(outcome, str) else outcome.size == (64, 48)


def test_a_cut_jpeg_says_so(tmp_path):
    path = tmp_path / "a.jpg"
    picture(200, 200).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    message = failure(sample(str(path)))
    assert "a.jpg: cannot be decoded: OSError: " in message
    assert "truncated" in message


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif"])
@given(st.data())
@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged metadata, which Pillow then passes over
def test_damaged_files_never_escape_as_another_error(tmp_path_factory, suffix, data):
    buffer = io.BytesIO()
    picture(64, 48).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / f"a.{suffix}"
    path.write_bytes(content)
    outcome = load_or_error(path)
    assert path.name in outcome if isinstance(outcome, str) else outcome.mode == "RGB"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose head promises a huge image."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(13_378, 13_378), (40_000, 40_000), (2**31 - 1, 1)])
def test_decompression_bombs_are_refused_by_their_head(tmp_path, size):
    """Warnings are errors in these tests, so Pillow's own would show."""
    path = tmp_path / "a.png"
    path.write_bytes(bomb(*size))
    assert f"a.png: is {size[0]} x {size[1]} pixels, the limit is 178,956,970" in failure(sample(str(path)))
    image = saved(picture(), tmp_path / "b.png")
    assert "the limit is 178,956,970" in failure(sample(image, mask=str(path)))


def test_the_limit_is_pillows_and_below_it_nothing_warns(tmp_path, monkeypatch):
    assert limits.MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    path = saved(picture(40, 30), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(path).close()
    assert load_image(path).size == (40, 30)


def test_an_image_so_narrow_that_the_resize_is_a_bomb(tmp_path):
    path = saved(Image.new("L", (1, 800_000)), tmp_path / "a.png")
    message = failure(sample(path))
    assert "is 1 x 800000 pixels, the resize would make it 16 x 12800000, over the limit" in message


def test_threads_see_what_one_thread_sees(tmp_path):
    paths = [
        saved(picture(40 + i, 30), tmp_path / f"{i}.{suffix}") for i, suffix in enumerate(["jpg", "png", "webp"] * 4)
    ]
    alone = [prepare(sample(path), GEOMETRY).picture.pixels for path in paths]
    gate = threading.Barrier(4)

    def work(path: str) -> np.ndarray:
        gate.wait()
        return prepare(sample(path), GEOMETRY).picture.pixels

    with ThreadPoolExecutor(4) as pool:
        for one, many in zip(alone * 3, pool.map(work, paths * 3), strict=True):
            np.testing.assert_array_equal(one, many)


def test_a_real_photograph_through_torchvision(shared_data):
    pytest.importorskip("torchvision", reason="torchvision is the oracle")
    from torchvision import transforms

    geometry = Geometry(224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    reference = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(geometry.mean, geometry.std),
        ]
    )
    paths = sorted((shared_data / "caltech101-boxes" / "images" / "dalmatian").iterdir())[:5]
    assert paths
    for path in paths:
        with Image.open(path) as image:
            expected = reference(image.convert("RGB")).numpy()
        np.testing.assert_allclose(prepare(sample(str(path)), geometry).picture.pixels, expected, atol=6e-7)


def test_a_column_that_grows_huge_in_between_is_refused_before_it_is_resized():
    squash = Geometry(224, 224, (0.5,) * 3, (0.25,) * 3, "squash")
    sample = Sample("s", "dark", "tall.png", boxes=())
    check_resize(sample, squash, (1, 100_000))
    with pytest.raises(SampleError, match=r"tall\.png: is 1 x 1000000 pixels, .* 224 x 1000000 in between"):
        check_resize(sample, squash, (1, 1_000_000))


def test_the_limit_of_pixels_can_be_set(tmp_path, monkeypatch):
    path = saved(picture(40, 30), tmp_path / "a.png")
    monkeypatch.setenv("RATE_MAX_PIXELS", "1199")
    assert "a.png: is 40 x 30 pixels, the limit is 1,199; RATE_MAX_PIXELS changes it" in failure(sample(path))
    monkeypatch.setenv("RATE_MAX_PIXELS", "1200")
    assert load_image(path).size == (40, 30)
    monkeypatch.setenv("RATE_MAX_PIXELS", str(10**12))
    (tmp_path / "bomb.png").write_bytes(bomb(20_000, 20_000))
    assert "cannot be decoded" in failure(sample(str(tmp_path / "bomb.png"))), "past the limit it is Pillow's to refuse"
    monkeypatch.setenv("RATE_MAX_PIXELS", "1e6")
    with pytest.raises(ConfigError, match="RATE_MAX_PIXELS must be a positive whole number, got '1e6'"):
        load_image(path)


def inflated(kind: bytes) -> bytes:
    """A PNG of 4 x 4 pixels with a chunk of 128 MiB of zeros in 130 kB, before the pixels."""
    whole = io.BytesIO()
    Image.new("RGB", (4, 4)).save(whole, "PNG")
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + zlib.compress(b"\0" * (128 << 20))
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return whole.getvalue()[:33] + chunk + whole.getvalue()[33:]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_deflate_bomb_beside_the_pixels_does_not_fill_the_memory(tmp_path, kind):
    (tmp_path / "a.png").write_bytes(inflated(kind))
    tracemalloc.start()
    outcome = load_or_error(tmp_path / "a.png")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    assert "a.png: cannot be decoded" in outcome if isinstance(outcome, str) else outcome.size == (4, 4)


@pytest.mark.parametrize(("tag", "count"), [(324, 1 << 28), (325, 1 << 28), (273, 0xFFFFFFF0)])
def test_a_tiff_that_promises_countless_tiles_is_refused_at_once(tmp_path, tag, count):
    """The offsets of the tiles would take a gigabyte and are not in the file."""
    fields = [(256, 4, 1, 16384), (257, 4, 1, 8192), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    fields += [(322, 4, 1, 1), (323, 4, 1, 1), (tag, 4, count, 8)]
    directory = b"".join(struct.pack("<HHII", *field) for field in sorted(fields))
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + directory + bytes(4))
    began = time.monotonic()
    assert "a.tif: " in failure(sample(str(tmp_path / "a.tif")))
    assert time.monotonic() - began < 5
