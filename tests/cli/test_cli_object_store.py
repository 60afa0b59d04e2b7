"""An artifact, a manifest and images on an S3 storage are what they are in folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from object_store import ObjectStore
from test_cli_eval import FEW, assert_same_verdicts

from rate.artifacts.artifact import load_artifact
from rate.cli.main import run
from rate.data.evaluation_set import read_evaluation_set
from rate.data.storage import remote_cache
from rate.errors import EXIT_USAGE, ArtifactError, DataError, SetChanged
from rate.runs.remote import local_run
from rate.runs.run_document import read_run


def put_folder(store: ObjectStore, folder: Path, prefix: str) -> str:
    for path in folder.iterdir():
        if path.is_file():
            store.put(f"{prefix}/{path.name}", path.read_bytes())
    return f"s3://pictures/{prefix}"


def test_a_run_of_a_remote_artifact_and_manifest_is_that_of_local_ones(
    trained, tmp_path: Path, store: ObjectStore
) -> None:
    artifact = put_folder(store, trained.artifact, "models/lp")
    put_folder(store, trained.manifest.parent, "set")
    data = "s3://pictures/set/manifest.csv"
    far, page = "s3://pictures/runs/far", str(tmp_path / "report.html")
    assert run(["eval", artifact, data, "--out", far, *FEW, "--workers", "2"]) == 0
    assert run(["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "near"), *FEW]) == 0
    assert_same_verdicts(local_run(far), tmp_path / "near")
    for command in (["show", f"{far}@lp"], ["status", far], ["report", far, "--out", page], ["show", far, "--json"]):
        assert run(command) == 0
    origin = read_run(local_run(far)).origin
    assert (origin.artifact, origin.data) == (artifact, data)
    graph = ("GET", "/pictures/models/lp/pixels.onnx")
    assert store.asked.count(graph) == 1, "the copy serves the workers of this machine"
    assert run(["inspect", artifact]) == 0


def test_messages_name_the_place_of_a_run(
    trained, tmp_path: Path, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", str(trained.artifact), str(trained.manifest), "--out", "s3://pictures/runs/far"]
    assert run([*asked, *FEW]) == 0
    assert run([*asked, *FEW, "--tau", "0.4"]) == EXIT_USAGE
    assert run(["merge", "s3://pictures/runs/far", "--out", "s3://pictures/runs/far"]) == EXIT_USAGE
    assert run(["show", "s3://pictures/runs/far@zs"]) == EXIT_USAGE
    assert run([*asked[:4], "s3://pictures/runs/grid", *FEW, "--corrupt", "contrast:1,contrast:2"]) == 0
    assert run(["show", "s3://pictures/runs/grid/contrast-2"]) == run(["show", "s3://pictures/runs/grid"]) == 0
    said = capsys.readouterr().err
    assert "error: s3://pictures/runs/far holds a run with other settings" in said
    assert "--out s3://pictures/runs/far exists and is not an empty folder" in said
    assert "error: s3://pictures/runs/far has no head 'zs'" in said
    assert str(tmp_path / "cache") not in said


def test_another_scheme_is_refused(
    trained, store: ObjectStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["eval", str(trained.artifact), str(trained.manifest), *FEW]
    monkeypatch.chdir(trained.manifest.parent)
    assert run([*asked, "--out", "gs://bucket/run"]) == EXIT_USAGE
    assert "--out gs://bucket/run: runs are written to folders and to S3" in capsys.readouterr().err
    assert not [path for path in trained.manifest.parent.iterdir() if path.name.startswith(("s3", "gs"))]


def test_an_artifact_is_verified_and_its_copy_is_one_of_its_content(
    trained, tmp_path: Path, store: ObjectStore
) -> None:
    url = put_folder(store, trained.artifact, "models/lp")
    first = load_artifact(url)
    assert first.digest == load_artifact(trained.artifact).digest
    assert first.path.is_relative_to(tmp_path / "cache")
    document = json.loads((trained.artifact / "artifact.json").read_text())
    store.put("models/lp/artifact.json", json.dumps(document, indent=1).encode())
    store.put("models/lp/parity.npz", b"other bytes")
    remote_cache._known.clear()
    with pytest.raises(ArtifactError, match=r"parity\.npz has changed"):
        load_artifact(url)
    assert load_artifact(first.path).digest == first.digest, "the older copy is whole"


def test_an_artifact_that_is_not_there_or_not_whole_is_refused(
    trained, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", "s3://pictures/none"]) == EXIT_USAGE
    assert "s3://pictures/none is no whole artifact" in capsys.readouterr().err
    url = put_folder(store, trained.artifact, "models/lp")
    store.remove("models/lp/pixels.onnx")
    with pytest.raises(ArtifactError, match=r"s3://pictures/models/lp is no whole artifact.*pixels\.onnx"):
        load_artifact(url)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_remote_manifest_names_images_beside_it(image_set, tmp_path: Path, store: ObjectStore, kind: str) -> None:
    from rate.data.formats.manifest_blocks import read_rows
    from rate.data.formats.manifest_files import write_rows

    manifest = image_set(5)
    put_folder(store, manifest.parent, "set")
    rows = [item[1] for item in read_rows(manifest) if isinstance(item, tuple)]
    write_rows(
        tmp_path / f"m.{kind}",
        [
            {k: v for k, v in row.items() if k not in ("x0", "y0", "x1", "y1")} | {"boxes": [[0.0, 0.0, 9.0, 9.0]]}
            for row in rows
        ],
    )
    url = store.put(f"set/m.{kind}", (tmp_path / f"m.{kind}").read_bytes())
    samples = read_evaluation_set(url)
    assert [sample.image for sample in samples] == [f"s3://pictures/set/{k}.png" for k in range(5)]
    assert all(sample.version for sample in samples)
    moved = store.put(f"elsewhere/m.{kind}", (tmp_path / f"m.{kind}").read_bytes())
    put_folder(store, manifest.parent, "elsewhere")
    assert read_evaluation_set(moved).digest == samples.digest, "a set that moves as a whole stays the same set"


@pytest.mark.parametrize("image", ["../other/0.png", "/etc/0.png", "a/../../0.png"])
def test_a_remote_manifest_names_nothing_above_it(store: ObjectStore, image: str) -> None:
    url = store.put("set/m.csv", f"image,label,x0,y0,x1,y1\n{image},dark,0,0,9,9\n".encode())
    with pytest.raises(
        DataError, match=r"the manifest s3://pictures/set/m\.csv cannot be used(.|\n)*(leaves|absolute)"
    ):
        read_evaluation_set(url)


def test_a_remote_manifest_that_is_missing_or_wrong_is_named_by_its_url(store: ObjectStore) -> None:
    with pytest.raises(DataError, match=r"the manifest s3://pictures/none\.csv does not exist"):
        read_evaluation_set("s3://pictures/none.csv")
    url = store.put("set/m.csv", b"image,label\na.png,dark\n")
    with pytest.raises(DataError, match=r"^s3://pictures/set/m\.csv: no column gives the region"):
        read_evaluation_set(url)


def test_a_remote_manifest_that_is_replaced_during_a_run_is_found(image_set, store: ObjectStore) -> None:
    manifest = image_set(5)
    put_folder(store, manifest.parent, "set")
    samples = read_evaluation_set("s3://pictures/set/manifest.csv")
    store.put("set/manifest.csv", manifest.read_bytes().replace(b"s3,3.png,light", b"s3,3.png,dark"))
    assert len(list(samples)) == 5, "this process has its copy"
    remote_cache._known.clear()
    with pytest.raises(SetChanged, match="'s3'"):
        list(samples)
