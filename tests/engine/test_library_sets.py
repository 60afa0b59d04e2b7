"""Sets as `datasets` and `webdataset` write them give a run the rows of the same set as a CSV manifest."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import datasets
import hub_mirror
import library_sets
import pyarrow as pa
import pytest
from function_models import evaluate, job, light
from library_sets import NAMES, dataset, png, some_rows, write_csv, write_shards

from rate.backends.fake import FakeSpec
from rate.data.evaluation_set import read_evaluation_set
from rate.data.open_data import open_rows
from rate.data.storage.location import read_bytes
from rate.errors import ConfigError, DataError, SampleError
from rate.reading import USUAL, Reading
from rate.report.heads import load_heads
from rate.report.html.page import write_report
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run


def evaluated(data: str, out: Path, reading: Reading = USUAL) -> tuple[list[dict], list[object]]:
    """The rows of a run but for the versions of remote files, and what it says of PT and IR."""
    summary = evaluate(job(data, reading=reading), FakeSpec(light), out)
    stored = (row | {"version": None} for row in read_rows(out, read_run(out)).to_pylist())
    rows = sorted(stored, key=lambda row: (row["id"], row["head"]))
    return rows, [astuple(head) for head in summary.heads.values()]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[dict], list[object]]]:
    folder = tmp_path_factory.mktemp("csv")
    manifests = {kind: write_csv(some_rows(), folder / kind, kind) for kind in ("boxes", "mask")}
    return {kind: evaluated(data, folder / f"run-{kind}") for kind, data in manifests.items()}


TABLES = {
    "x, y, width, height, which the set proves": ("boxes", {}, USUAL),
    "corners": ("boxes", {"corners": True}, Reading(box_format="xyxy")),
    "a list of objects": ("boxes", {"structs": True}, Reading(box_format="xywh")),
    "masks": ("mask", {"masks": True}, USUAL),
}


@pytest.mark.parametrize("name", TABLES)
def test_parquet_of_datasets(expected, tmp_path: Path, name: str) -> None:
    region, form, reading = TABLES[name]
    dataset(some_rows(), **form).to_parquet(tmp_path / "set.parquet", batch_size=5)
    assert evaluated(str(tmp_path / "set.parquet"), tmp_path / "run", reading) == expected[region]


def test_columns_by_other_names_and_numbers_that_a_file_names(expected, tmp_path: Path) -> None:
    table = dataset(some_rows(), corners=True)
    table = table.cast_column("label", datasets.Value("int64")).rename_columns({"image": "img", "label": "fine"})
    objects = [{"box": one["bbox"], "kind": one["category"]} for one in table["objects"]]
    kind = datasets.Features(
        {"box": datasets.List(datasets.List(datasets.Value("float32"))), "kind": datasets.List(datasets.Value("int8"))}
    )
    table = table.remove_columns("objects").add_column("annotations", objects, feature=kind)
    table.to_parquet(tmp_path / "set.parquet")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    columns = "label=fine,boxes=annotations.box,category=annotations.kind"
    words = Reading(columns=columns, box_format="xyxy", label_names=str(tmp_path / "names.txt"))
    assert evaluated(str(tmp_path / "set.parquet"), tmp_path / "run", words) == expected["boxes"]
    heads, manifest = load_heads(str(tmp_path / "run")), write_csv(some_rows(), tmp_path / "moved")
    [notice] = write_report(heads, tmp_path / "report.html", data=manifest).notices  # which has no such columns
    assert notice.endswith("pictures are matched by id")


def test_a_saved_dataset(expected, tmp_path: Path) -> None:
    dataset(some_rows()).save_to_disk(tmp_path / "saved", num_shards=2)
    assert evaluated(str(tmp_path / "saved"), tmp_path / "run") == expected["boxes"]


def test_splits_of_a_saved_dataset_and_its_files_by_a_pattern(tmp_path: Path) -> None:
    rows = some_rows(6)
    whole = {split: dataset(own, masks=True) for split, own in (("train", rows[:4]), ("test", rows[4:]))}
    datasets.DatasetDict(whole).save_to_disk(tmp_path / "saved")
    chosen = read_evaluation_set(str(tmp_path / "saved"), "test")
    assert [one.id for one in chosen] == ["s4", "s5"]
    assert [read_bytes(one.mask) for one in chosen] == [png(row.mask) for row in rows[4:]]
    files = read_evaluation_set(f"{tmp_path}/saved/*/*.arrow", "test")
    assert {row.sample.id: row.split for row in open_rows(f"{tmp_path}/saved/*/*.arrow")}["s0"] == "train"
    assert files.digest == chosen.digest
    assert len(read_evaluation_set(str(tmp_path / "saved" / "test"))) == 2
    moved = (tmp_path / "saved").rename(tmp_path / "moved")
    assert read_evaluation_set(str(moved), "test").digest == chosen.digest


def test_saved_datasets_that_cannot_be_read(tmp_path: Path) -> None:
    folder, rows = tmp_path / "saved", some_rows(4)
    dataset(rows, masks=True).save_to_disk(folder)
    file = folder / "data-00000-of-00001.arrow"
    table = pa.ipc.open_stream(file.read_bytes()).read_all()
    place = next(open_rows(str(folder))).sample.image

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message):
            list(open_rows(str(folder)))

    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(pa.concat_tables([table] * 9).combine_chunks())
    refused("cannot be read as an Arrow stream: it is compressed")
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    refused(r"it is an Arrow file \(Feather\) and no stream")
    file.write_bytes(b"\xff" * 40)
    refused("cannot be read as an Arrow stream")
    with pytest.raises(SampleError, match="cannot be read"):
        read_bytes(place)
    file.unlink()
    refused("arrow does not exist")
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../other.arrow"}]}')
    refused(r"state.json does not name files beside it that are the set; save the dataset anew")
    (folder / "state.json").write_text("{}")
    refused("state.json cannot be read: Object missing required field `_data_files`")
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    refused("dataset_dict.json names 'train', which is no saved dataset")


def test_a_set_of_the_hub(expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    dataset(some_rows()).to_parquet(tmp_path / "set" / "test-00000-of-00001.parquet")
    with hub_mirror.running(monkeypatch) as mirror:
        mirror.folders["me/set"] = tmp_path / "set"
        assert evaluated("hf://datasets/me/set", tmp_path / "run") == expected["boxes"]


def test_shards_of_webdataset_with_numbers_and_objects(expected, tmp_path: Path) -> None:
    shards = write_shards(some_rows(), tmp_path / "set")
    words = Reading(columns="boxes=objects.bbox,category=objects.category,label=cls", label_names=NAMES)
    assert evaluated(shards, tmp_path / "run", words) == expected["boxes"]


def test_shards_with_a_mask_as_the_second_image_and_keys_in_folders(tmp_path: Path) -> None:
    rows = some_rows(6)
    words = {"columns": "image=image.png,mask=png", "label_names": NAMES}
    chosen = read_evaluation_set(write_shards(rows, tmp_path / "set", masks=True), reading=Reading(**words))
    assert [(one.id, one.label, one.row) for one in chosen] == [
        (f"val/v1.0/{row.id}", NAMES[row.label], k) for k, row in enumerate(rows, 1)
    ]
    assert [read_bytes(one.image) for one in chosen] == [png(row.picture) for row in rows]
    assert [read_bytes(one.mask) for one in chosen] == [png(row.mask) for row in rows]


def test_what_shards_do_not_say(tmp_path: Path) -> None:
    shards = write_shards(some_rows(4), tmp_path / "set")

    def said(**words: object) -> str:
        with pytest.raises(DataError) as error:
            read_evaluation_set(shards, reading=Reading(**words))
        return str(error.value)

    assert "s0.cls' holds the number 0, not the name of a class; name the numbers with --label-names FILE" in said()
    boxes = {"columns": {"boxes": "objects.bbox"}, "label_names": NAMES}
    assert "objects.bbox holds [30, 25, 9, 13], which is no x0, y0, x1, y1; --box-format xywh" in said(
        **boxes, box_format="xyxy"
    )
    assert "needs one region, got none" in said(label_names=NAMES)
    assert "s1.cls' holds class 1, and 1 classes have names, from 0 to 0" in said(label_names=NAMES[:1])


def test_a_detection_set_without_labels_has_a_sample_for_each_class_of_an_image(tmp_path: Path) -> None:
    rows = some_rows(4)
    dataset(rows).remove_columns("label").to_parquet(tmp_path / "set.parquet")
    chosen = read_evaluation_set(str(tmp_path / "set.parquet"))
    assert [(one.id, one.label, one.boxes, one.cluster, one.row) for one in chosen] == [
        (f"{row.id}:{NAMES[kind]}", NAMES[kind], tuple(tuple(map(float, box)) for box in row.of(kind)), row.id, k)
        for k, row in enumerate(rows, 1)
        for kind in row.kinds
    ]


def test_the_split_is_in_the_name_that_datasets_gives_a_file(tmp_path: Path) -> None:
    for split, rows in (("train", some_rows(4)[:2]), ("test", some_rows(4)[2:])):
        dataset(rows, masks=True).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    chosen = read_evaluation_set(f"{tmp_path}/*.parquet", "train")
    assert [one.id for one in chosen] == ["s0", "s1"]
    assert read_bytes(next(iter(chosen)).image).startswith(b"\x89PNG")


def refused(table: datasets.Dataset, path: Path, **words: object) -> str:
    table.to_parquet(path)
    with pytest.raises(DataError) as error:
        read_evaluation_set(str(path), reading=Reading(**words))
    return str(error.value)


def test_boxes_that_nothing_tells_and_words_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    small = [library_sets.Row("a", some_rows(1)[0].picture, 0, ((2, 1, 9, 9),), (0,))]
    assert "can be corners or x, y, width, height: say --box-format xyxy (corners)" in refused(dataset(small), path)
    leave = "[30.0, 25.0, 39.0, 38.0] of row 1 leave their images as x, y, width, height: say --box-format xyxy"
    assert leave in refused(dataset(some_rows(), corners=True), path)
    assert leave in refused(dataset(some_rows(), corners=True), path, box_format="xywh")
    reversed_ = "which is no x0, y0, x1, y1; --box-format xywh reads x, y, width, height"
    assert reversed_ in refused(dataset(some_rows()), path, box_format="xyxy")


def test_numbers_without_names_and_columns_that_could_be_meant(tmp_path: Path) -> None:
    path, table = tmp_path / "set.parquet", dataset(some_rows(2), masks=True)
    unnamed = table.cast_column("label", datasets.Value("int64"))
    assert "`label` holds numbers and the schema does not name them: name them with --label-names" in refused(
        unnamed, path
    )
    with pytest.raises(ConfigError, match=r"says image twice; name one column for each"):
        Reading(columns="image=image,mask=mask,image=mask")
    with pytest.raises(ConfigError, match=r"says label and caption: .* name one of them"):
        Reading(columns="label=label,caption=text")
    short = "label holds class 1, and 1 classes have names, from 0 to 0; --label-names FILE has a line for each class"
    assert short in refused(unnamed, path, label_names=["light"])
    two = table.rename_column("label", "fine").add_column("coarse", [0, 1], feature=table.features["label"])
    assert "fine and coarse could be the label: say which with --columns label=" in refused(two, path)
    pictures = table.rename_columns({"image": "img", "mask": "annotation"})
    assert "img and annotation hold pictures: say which with --columns image=" in refused(pictures, path)
    assert "--columns image=im: there is no such column; the file has: id, img" in refused(
        pictures, path, columns={"image": "im"}
    )
    segmentation = table.remove_columns("label").rename_column("mask", "label")
    assert "`label` holds pictures and no class: say --columns label=...,mask=label" in refused(segmentation, path)
    some_rows(1)[0].picture.save(tmp_path / "a.png")
    by_path = datasets.Dataset.from_dict({"image": [f"{tmp_path}/a.png"], "label": ["a"], "boxes": [[[0, 0, 1, 1]]]})
    what = "`image` names files and does not hold their bytes; embed them"
    assert what in refused(by_path.cast_column("image", datasets.Image()), path)
    (tmp_path / "names.txt").write_text("light\n\ndark\n")
    assert "names.txt: line 2 is empty" in refused(unnamed, path, label_names=str(tmp_path / "names.txt"))


def test_the_words_go_with_other_sets_than_manifests(tmp_path: Path) -> None:
    manifest = write_csv(some_rows(2), tmp_path / "set")
    with pytest.raises(Exception, match=r"--box-format goes with pictures in Parquet, Arrow or shards"):
        list(open_rows(manifest, Reading(box_format="xywh")))
