"""Files of maps: which sample a map is of, what is no map, and what a broken file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from rate.data.given_maps import GivenMaps, MapShape, as_map
from rate.data.storage import remote_cache
from rate.errors import DataError, SampleError
from rate.types import Sample

GREY = np.arange(12).reshape(3, 4)


def sample(identifier: str) -> Sample:
    return Sample(identifier, "cat", "image.png", boxes=())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "maps" / "cat").mkdir(parents=True)
    return tmp_path / "maps"


def test_a_map_is_named_by_the_id_with_or_without_its_suffix(folder: Path) -> None:
    np.save(folder / "cat" / "1.npy", GREY)
    np.save(folder / "cat" / "2.jpg.npy", GREY + 1)
    np.savez(folder / "some.npz", **{"cat/3.jpg": GREY + 2, "v1.2": GREY + 3})
    save_file({"cat/4": GREY.astype(np.float32) + 4}, folder / "more.safetensors")
    (folder / "notes.txt").write_text("no map")
    (folder / ".hidden.npy").write_bytes(b"")
    maps = GivenMaps.at(folder)
    for k, name in enumerate(("cat/1.jpg", "cat/2.jpg", "cat/3.jpg", "v1.2", "cat/4.png")):
        np.testing.assert_array_equal(maps.of_sample(name), GREY + k)
    assert maps.name_of("cat/5.jpg") is None
    assert maps.name_of("cat") is None
    with pytest.raises(SampleError, match=r"has no map of sample 'cat/5.jpg'; name maps after the ids"):
        maps.of_sample("cat/5.jpg")


def test_an_archive_of_maps_may_have_a_url(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    np.savez(folder / "some.npz", **{"cat/3.jpg": GREY + 2})
    save_file({"cat/4": GREY.astype(np.float32) + 4}, folder / "more.safetensors")
    for file in folder.glob("*.*"):
        memory.pipe(f"/maps/{file.name}", file.read_bytes())
    for place, name, added in (("some.npz", "cat/3.jpg", 2), ("more.safetensors", "cat/4.png", 4)):
        maps = GivenMaps.at(Path("memory:/maps") / place)  # as the command line gives it
        assert maps.name == f"memory://maps/{place}"
        np.testing.assert_array_equal(maps.of_sample(name), GREY + added)
    for place, said in (
        ("memory://maps", r"remote maps are in one file, .npz or .safetensors"),
        ("memory://maps/none.npz", r"the maps memory://maps/none.npz cannot be fetched"),
    ):
        with pytest.raises(DataError, match=said):
            GivenMaps.at(Path(place))


@pytest.mark.parametrize(("mode", "values"), [("L", np.uint8), ("I;16", np.uint16), ("F", np.float32)])
def test_grey_pictures_are_their_values(folder: Path, mode: str, values: type[np.generic]) -> None:
    image = Image.fromarray((GREY * (20 if mode == "L" else 200)).astype(values))
    assert image.mode == mode
    image.save(folder / "a.png", format="TIFF" if mode == "F" else "PNG")
    np.testing.assert_array_equal(GivenMaps.at(folder).of_sample("a"), np.asarray(image))


def test_channels_are_summed_and_tensors_are_taken() -> None:
    values = np.random.default_rng(0).normal(size=(3, 5, 4))
    np.testing.assert_allclose(as_map(values, "it"), values.sum(axis=0))
    np.testing.assert_allclose(as_map(values.transpose(1, 2, 0)[None], "it"), values.sum(axis=0))
    tensor = torch.from_numpy(values).requires_grad_().bfloat16()
    np.testing.assert_allclose(as_map(tensor, "it"), values.sum(axis=0), atol=0.05)
    np.testing.assert_array_equal(as_map(GREY[None, :, :, None] > 3, "it"), GREY > 3)


@pytest.mark.parametrize("shape", [(7,), (2, 5, 5), (3, 3, 5, 5), (0, 4), ()])
def test_what_has_not_one_value_a_pixel_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MapShape, match="expected a value a pixel"):
        as_map(np.zeros(shape), "it")


def test_what_are_no_real_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SampleError, match="holds complex128, expected real numbers"):
        as_map(np.zeros((4, 4), complex), "it")
    monkeypatch.setenv("RATE_MAX_PIXELS", "100")
    with pytest.raises(SampleError, match=r"has 400 values, the limit is 100; RATE_MAX_PIXELS"):
        as_map(np.zeros((20, 20)), "it")


def _pickled(path: Path) -> None:
    np.save(path / "a.npy", np.array([{"a": 1}]), allow_pickle=True)


def _huge(path: Path) -> None:
    np.save(path / "a.npy", GREY)
    content = (path / "a.npy").read_bytes()
    (path / "a.npy").write_bytes(content.replace(b"(3, 4), }        ", b"(300000, 400000),}"[:17]))


def _colour(path: Path) -> None:
    Image.new("RGB", (4, 3)).save(path / "a.png")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_pickled, "Python objects"),
        (lambda path: (path / "a.npy").write_bytes(b""), "cannot be read"),
        (_huge, "cannot be read"),
        (lambda path: (path / "a.png").write_bytes(b"\x89PNG"), "is not an image that can be read|cannot be decoded"),
        (_colour, "is a picture of mode RGB; a map is grey"),
        (lambda path: save_tensors({"a": torch.zeros(3, 4).bfloat16()}, path / "b.safetensors"), "bfloat16"),
    ],
    ids=["pickle", "empty", "huge", "broken", "colour", "bfloat16"],
)
def test_a_map_that_cannot_be_read_says_so(folder: Path, write: Callable[[Path], object], said: str) -> None:
    write(folder)
    with pytest.raises(SampleError, match=said):
        GivenMaps.at(folder).of_sample("a")


def test_a_member_that_would_fill_the_memory_is_not_inflated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(folder / "one.npz", a=np.zeros((200, 200)))
    monkeypatch.setenv("RATE_MAX_PIXELS", "1000")
    with pytest.raises(SampleError, match=r"has 320,128 bytes, the limit is 24,000"):
        GivenMaps.at(folder).of_sample("a")


def test_files_that_cannot_be_used_are_refused_as_a_whole(folder: Path, tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none", "does not exist; MAPS is a file or a folder"),
        (folder, r"holds no maps; they are .npy, .png, .npz, .safetensors files"),
    ):
        with pytest.raises(DataError, match=said):
            GivenMaps.at(path)
    (tmp_path / "map.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"ends in '.jpg'; maps are"):
        GivenMaps.at(tmp_path / "map.jpg")
    (folder / "b.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"b.npz cannot be read"):
        GivenMaps.at(folder)
    (folder / "b.npz").unlink()
    np.save(folder / "a.npy", GREY)
    np.savez(folder / "c.npz", a=GREY)
    with pytest.raises(DataError, match=r"a.npy and .*c.npz both hold a map named 'a'"):
        GivenMaps.at(folder)


def test_a_map_of_two_samples_is_refused() -> None:
    maps = GivenMaps.of({"1": GREY})
    with pytest.raises(DataError, match=r"the map '1' of the mapping may be that of '1.jpg' or of '1.png'"):
        maps.digest(map(sample, ("1.jpg", "1.png")))


def test_the_digest_is_of_the_values_of_the_samples_alone() -> None:
    maps = GivenMaps.of({"a": GREY, "b": GREY * 2, "stray": GREY})
    digest, said = maps.digest(map(sample, "abc"))
    assert said == (
        "the mapping has no map for 1 of 3 samples, such as 'c'",
        "1 of 3 maps are of no sample that is judged, such as 'stray'",
    )
    assert GivenMaps.of({"b": GREY * 2.0, "a": GREY[None]}).digest(map(sample, "bac"))[0] == digest
    assert GivenMaps.of({"b": GREY, "a": GREY * 2}).digest(map(sample, "abc"))[0] != digest
