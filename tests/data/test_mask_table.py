"""What says what masks mean: the side file, the user, or both, for every form of a set; it is part of the digest."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from shard_files import write_shards

from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.pack import pack
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.data.mask_table import mask_table, recorded, side_file
from rate.data.storage import remote_cache
from rate.errors import ConfigError, DataError
from rate.reading import USUAL, Reading
from rate.types import MaskValues

GEOMETRY = Geometry(20, 20, (0.0,) * 3, (1.0,) * 3)
NUMBERS = np.zeros((20, 20), np.uint8)
NUMBERS[2:8, 2:12], NUMBERS[10:18, 5:15], NUMBERS[18:, :] = 8, 12, 255
WORDS = Reading(mask_ignore=255, mask_classes={"cat": 8, "dog": "12"})


def png(numbers: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(numbers).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "image.png").write_bytes(png(np.full((20, 20, 3), 90, np.uint8)))
    (tmp_path / "mask.png").write_bytes(png(NUMBERS))
    lines = ["id,image,label,mask", *(f"{name},image.png,{name},mask.png" for name in ("cat", "dog"))]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    return tmp_path / "m.csv"


def side(path: Path, **said: object) -> None:
    path.write_text(json.dumps({"schema": "rate.masks/1"} | said))


def test_manifests_shards_and_parquet_with_the_same_words_give_the_same_regions(manifest: Path) -> None:
    image, mask = ((manifest.parent / name).read_bytes() for name in ("image.png", "mask.png"))
    members = {
        f"{name}.{suffix}": data
        for name in ("cat", "dog")
        for suffix, data in (("cls", name.encode()), ("mask.png", mask), ("png", image))
    }
    table = pa.table({"id": ["cat", "dog"], "label": ["cat", "dog"], "image": [image] * 2, "mask": [mask] * 2})
    parquet.write_table(table, manifest.parent / "d.parquet")
    shards = write_shards(manifest.parent / "shards", members)
    for data in (str(manifest), shards, str(manifest.parent / "d.parquet")):
        for sample in read_evaluation_set(data, reading=WORDS):
            found = prepare(sample, GEOMETRY)
            np.testing.assert_array_equal(found.region, {"cat": 8, "dog": 12}[sample.label] == NUMBERS)
            np.testing.assert_array_equal(found.ignored, NUMBERS == 255)
            assert found.area == found.region.sum() / (NUMBERS != 255).sum()


def test_the_side_file_says_it_and_the_user_comes_first(manifest: Path) -> None:
    side(manifest.with_name("m.masks.json"), values="8,12", ignore=255)
    [cat, _] = read_manifest(manifest).samples
    assert cat.values == MaskValues(((8, 8), (12, 12)), ((255, 255),))
    [cat, dog] = read_evaluation_set(str(manifest), reading=Reading(mask_classes={"cat": "8", "dog": "9-12"}))
    assert (cat.values, dog.values) == (
        MaskValues(((8, 8),), ((255, 255),)),
        MaskValues(((9, 12),), ((255, 255),)),
    )


def test_a_side_file_of_shards_lies_in_their_folder_and_packing_writes_one(manifest: Path, tmp_path: Path) -> None:
    side(manifest.with_name("m.masks.json"), classes={"cat": 8, "dog": 12}, ignore="255", instances="largest")
    report = pack(str(manifest), tmp_path / "packed")
    for before, after in zip(read_manifest(manifest).samples, read_evaluation_set(report.pattern), strict=True):
        one, other = prepare(before, GEOMETRY), prepare(after, GEOMETRY)
        np.testing.assert_array_equal(one.region, other.region)
        np.testing.assert_array_equal(one.ignored, other.ignored)


def test_side_files_and_tables_of_remote_sets_lie_beside_them(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    side(manifest.with_name("m.masks.json"), values="8,12", ignore=255)
    for name in ("m.csv", "image.png", "mask.png", "m.masks.json"):
        memory.pipe(f"/far/{name}", (manifest.parent / name).read_bytes())
    memory.pipe("/words/classes.txt", b"8 cat\n12 dog\n")
    here, there = (read_evaluation_set(place) for place in (str(manifest), "memory://far/m.csv"))
    assert [one.values for one in there] == [one.values for one in here] != [None, None]
    by_class = Reading(mask_classes="memory://words/classes.txt")
    assert recorded("memory://far/m.csv", by_class) == recorded(
        str(manifest), Reading(mask_classes={"cat": "8", "dog": "12"})
    )
    report = pack(str(manifest), manifest.parent / "packed")
    for path in (manifest.parent / "packed").iterdir():
        memory.pipe(f"/shards/{path.name}", path.read_bytes())
    local = [one.values for one in read_evaluation_set(report.pattern)]
    assert [one.values for one in read_evaluation_set("memory://shards/*.tar")] == local != [None, None]
    memory.pipe("/far/m.masks.json", b"{}")
    remote_cache._known.clear()
    with pytest.raises(DataError, match=r"^memory://far/m.masks.json has the schema None"):
        read_evaluation_set("memory://far/m.csv")
    with pytest.raises(DataError, match=r"--mask-classes memory://words/none.txt cannot be read: .*none.txt"):
        read_evaluation_set("memory://shards/*.tar", reading=Reading(mask_classes="memory://words/none.txt"))


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("set/m.csv", "set/m.masks.json"),
        ("set/*.tar", "set/masks.json"),
        ("s3://b/set/m.jsonl", "s3://b/set/m.masks.json"),
        ("s3://b/set/{00..10}.tar", "s3://b/set/masks.json"),
        ("s3://b/{x,y}/0.tar", None),
        ("https://host/m.csv?X-Amz-Signature=1", None),
        ("zip://m.csv::https://host/a.zip", None),
        ("hf://datasets/user/name", None),
        ("hf://datasets/user/name@refs/convert/parquet", None),
    ],
)
def test_where_a_side_file_lies(data: str, place: str | None) -> None:
    assert side_file(data) == place


def test_what_masks_mean_is_part_of_the_digest_of_a_set(manifest: Path) -> None:
    words = [USUAL, WORDS, Reading(mask_values=8), Reading(mask_values=12), Reading(mask_ignore=255)]
    words += [Reading(instances="largest"), Reading(mask_values="8-12")]
    assert len({read_evaluation_set(str(manifest), reading=one).digest for one in words}) == len(words)
    assert read_evaluation_set(str(manifest), reading=Reading(instances="union")).digest == (
        read_evaluation_set(str(manifest)).digest
    )


def test_a_recorded_reading_needs_neither_the_side_file_nor_the_table(manifest: Path, tmp_path: Path) -> None:
    side(manifest.with_name("m.masks.json"), ignore=255)
    (tmp_path / "table.txt").write_text("8 cat\n12\tdog\n13 dog\n")
    kept = recorded(str(manifest), Reading(mask_classes=str(tmp_path / "table.txt")))
    before = read_evaluation_set(str(manifest), reading=kept).digest
    manifest.with_name("m.masks.json").unlink()
    (tmp_path / "table.txt").unlink()
    assert read_evaluation_set(str(manifest), reading=Reading(**kept.to_json())).digest == before
    assert kept.to_json() == {
        "mask_ignore": "255",
        "mask_classes": {"cat": "8", "dog": "12,13"},
        "instances": "union",
    }
    assert recorded(str(manifest), USUAL) == USUAL


def test_a_class_without_values_is_a_row_that_is_wrong(manifest: Path) -> None:
    with pytest.raises(DataError, match=r"row 2: mask has no values for the class 'dog' .*add a line for it"):
        read_evaluation_set(str(manifest), reading=Reading(mask_classes={"cat": 8}))


def test_the_largest_of_several_boxes_is_the_region(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(png(np.zeros((20, 20, 3), np.uint8)))
    (tmp_path / "m.jsonl").write_text('{"image": "image.png", "label": "cat", "boxes": [[0,0,3,3], [5,5,15,15]]}\n')
    [sample] = read_evaluation_set(str(tmp_path / "m.jsonl"), reading=Reading(instances="largest"))
    region = prepare(sample, GEOMETRY).region
    assert (region.sum(), bool(region[:5].any())) == (100, False)


@pytest.mark.parametrize("text", ["", "x", "1-", "5-3", "-1", "1;2", "1,,2", "999999999"])
def test_values_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--mask-values must be values of a mask such as 1 or 1,3-5, got"):
        Reading(mask_values=text)


def test_two_words_for_the_object_are_one_too_many(manifest: Path) -> None:
    with pytest.raises(ConfigError, match="both say what the object is"):
        Reading(mask_values=1, mask_classes={"cat": 1})
    side(manifest.with_name("m.masks.json"), values=1, classes={"cat": 1})
    with pytest.raises(DataError, match="values and classes"):
        read_evaluation_set(str(manifest))


@pytest.mark.parametrize("text", [b"", b"cat 8", b"8", b"\xff"])
def test_a_table_of_classes_of_another_form_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "table.txt").write_bytes(text)
    with pytest.raises(DataError, match="8 cat"):
        mask_table(None, Reading(mask_classes=str(tmp_path / "table.txt")))


def test_a_side_file_of_another_form_is_refused_with_an_example(manifest: Path) -> None:
    for content in ("{", '{"schema": "x"}', '{"schema": "rate.masks/1", "valuse": 1}'):
        manifest.with_name("m.masks.json").write_text(content)
        with pytest.raises(DataError, match=r"m\.masks\.json.*expected such as"):
            read_manifest(manifest)
