"""Artifacts on disk: what is loaded is what was written, and anything else is named."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from msgspec.structs import replace

from rate.artifacts import folders
from rate.artifacts.artifact import Artifact, check_heads, load_artifact
from rate.artifacts.parity_sample import load_sample
from rate.artifacts.records import ArtifactDocument, HeadInfo
from rate.errors import ArtifactError, UsageError
from rate.files import MAX_BYTES
from rate.records import plain, schema_of


def change(folder: Path, **values: object) -> None:
    path = folder / "artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_loading_gives_what_was_written(shared_artifact) -> None:
    assert load_artifact(shared_artifact.path) == shared_artifact


def test_the_document_obeys_its_schema_and_lists_every_other_file(shared_artifact) -> None:
    document = json.loads((shared_artifact.path / "artifact.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema_of(ArtifactDocument))
    jsonschema.Draft202012Validator(schema_of(ArtifactDocument)).validate(document)
    on_disk = {path.name for path in shared_artifact.path.iterdir()} - {"artifact.json"}
    assert set(document["files"]) == on_disk
    graph = shared_artifact.graph()
    assert (graph.path.name, graph.heads, graph.size, graph.precision) == ("pixels.onnx", ("native",), 24, "f32")


@pytest.mark.parametrize("name", ["pixels.onnx", "pixels.onnx.data", "parity.npz"])
def test_a_changed_file_is_named(name, artifact_copy) -> None:
    path = artifact_copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name} has changed: its sha256 is"):
        load_artifact(artifact_copy)
    path.unlink()
    with pytest.raises(ArtifactError, match=rf"{name} is listed and missing"):
        load_artifact(artifact_copy)


HEAD = {"name": "x", "kind": "linear", "classes": ["cat", "dog"]}
PIXELS = {"size": 24, "resize": 24, "mean": [0.5] * 3, "std": [0.5] * 3}
MALFORMED = {
    "schema": ({"schema": "rate.artifact/9"}, "'rate.artifact/9', expected 'rate.artifact/5'.*another version of rate"),
    "older": (
        {"schema": "rate.artifact/4"},
        "'rate.artifact/4', expected 'rate.artifact/5'.*; export the artifact again",
    ),
    "classes": ({"heads": [HEAD | {"classes": "cat"}]}, r"\$\.heads\[0\]\.classes`, got 'cat'"),
    "class names": ({"heads": [HEAD | {"classes": ["cat", 3]}]}, r"\$\.heads\[0\]\.classes\[1\]`, got 3"),
    "repeated class": ({"heads": [HEAD | {"classes": ["cat", "cat"]}]}, "repeated: .'cat'"),
    "empty class": ({"heads": [HEAD | {"classes": ["cat", ""]}]}, r"length >= 1 - at `\$\.heads\[0\]\.classes\[1\]`"),
    "no heads": ({"heads": []}, r"length >= 1 - at `\$\.heads`"),
    "equal heads": ({"heads": [HEAD, HEAD]}, "heads of different names"),
    "head": ({"heads": ["native"]}, r"\$\.heads\[0\]`, got 'native'"),
    "more of a head": ({"heads": [HEAD | {"output": "y"}]}, r"unknown field `output` - at `\$\.heads\[0\]`"),
    "input": ({"input": {"size": 24}}, r"missing required field `resize` - at `\$\.input`"),
    "side": ({"input": PIXELS | {"size": 1}}, "size must be a whole number of pixels, at least 2; got 1"),
    "graphs": ({"graphs": {}, "parity": {}}, "'graphs' and 'parity' must both have pixels"),
    "parity": ({"parity": {}}, "'graphs' and 'parity' must both have pixels"),
    "patches": ({"patches": 3}, "'patches' goes with a graph 'tokens'"),
    "opset": ({"opset": True}, r"\$\.opset`, got True"),
    "missing": ({"source": None}, r"\$\.source`, got None"),
    "escape": ({"files": {"../x": "0" * 64}}, "not a plain name"),
    "unlisted": ({"files": {"parity.npz": "0" * 64}}, "parity.npz has changed"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_document_is_refused_by_the_field_at_fault(name, artifact_copy) -> None:
    values, message = MALFORMED[name]
    change(artifact_copy, **values)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(artifact_copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_what_is_not_a_json_object_is_refused(text, artifact_copy) -> None:
    (artifact_copy / "artifact.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError, match=r"artifact.json (cannot be read as JSON|has the schema None)"):
        load_artifact(artifact_copy)


def test_a_folder_of_another_kind_says_what_to_do(tmp_path) -> None:
    with pytest.raises(ArtifactError, match=r"has no artifact.json; give the folder that `rate export` wrote"):
        load_artifact(tmp_path)
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(ArtifactError, match="it is a checkpoint; export it first: rate export"):
        load_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="is no artifact"):
        load_artifact(tmp_path / "gone")


def test_the_digest_is_of_what_changes_a_result(shared_artifact) -> None:
    a = shared_artifact
    (head,) = a.heads
    same = [replace(a, path=Path("/else")), replace(a, source="x"), replace(a, versions={}), replace(a, parity={})]
    same.append(replace(a, files=a.files | {"parity.npz": "0" * 64}))
    other = [
        replace(a, files=a.files | {"pixels.onnx": "0" * 64}),
        replace(a, files=a.files | {"pixels.onnx.data": "0" * 64}),
        replace(a, geometry=replace(a.geometry, resize=30)),
        replace(a, heads=(replace(head, classes=head.classes[::-1]),)),
        replace(a, heads=(replace(head, name="other"),)),
    ]
    assert {one.digest for one in same} == {a.digest}
    assert len({one.digest for one in [a, *other]}) == 1 + len(other)


def test_heads_keep_their_own_classes(shared_artifact) -> None:
    two = replace(shared_artifact, heads=(*shared_artifact.heads, HeadInfo("lp", "linear", ("x", "y"))))
    document = plain(two.document)
    jsonschema.Draft202012Validator(schema_of(ArtifactDocument)).validate(json.loads(json.dumps(document)))
    assert [head["classes"] for head in document["heads"]] == [shared_artifact.heads[0].classes, ("x", "y")]
    with pytest.raises(UsageError, match=r"different names, got .'native', 'native'."):
        check_heads(shared_artifact.heads * 2, UsageError)


def draft(out: Path, force: bool = False, fail: bool = False) -> None:
    with folders.replacing(out, "artifact.json", force) as folder:
        (folder / "artifact.json").write_text("new")
        if fail:
            raise KeyboardInterrupt


def test_a_folder_appears_whole_or_not_at_all(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        draft(tmp_path / "a", fail=True)
    assert list(tmp_path.iterdir()) == []
    draft(tmp_path / "deep" / "a")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]
    (tmp_path / "empty").mkdir()
    draft(tmp_path / "empty")
    assert (tmp_path / "empty" / "artifact.json").read_text() == "new"


def test_only_an_artifact_is_replaced_and_only_by_force(tmp_path) -> None:
    out = tmp_path / "a"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"is not empty and has no artifact.json, so it is not replaced"):
            draft(out, force)
    assert (out / "thesis.tex").read_text() == "precious"
    (out / "artifact.json").write_text("old")
    with pytest.raises(UsageError, match="exists already; add --force"):
        draft(out)
    with pytest.raises(UsageError, match=r"artifact\.json that cannot be read"):
        draft(out, force=True)
    (out / "artifact.json").write_text('{"schema": "of a museum/1", "files": {"thesis.tex": ""}}')
    with pytest.raises(UsageError, match="of a museum"):
        draft(out, force=True)
    (out / "artifact.json").write_text('{"schema": "rate.artifact/1", "files": {"graph.onnx": ""}}')
    with pytest.raises(UsageError, match=r"it holds thesis\.tex"):
        draft(out, force=True)
    assert (out / "thesis.tex").read_text() == "precious"
    (out / "thesis.tex").rename(out / "graph.onnx")
    (out / "plans").mkdir()
    (out / "plans" / "0123456789abcdef.plan").touch()
    draft(out, force=True)
    assert [path.name for path in out.iterdir()] == ["artifact.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    for place in (out / "artifact.json", out / "artifact.json" / "b"):
        with pytest.raises(UsageError, match=str(place)):
            draft(place, force=True)


def test_an_artifact_can_be_moved(shared_artifact, artifact_copy) -> None:
    moved = load_artifact(artifact_copy)
    assert moved.digest == shared_artifact.digest
    assert isinstance(moved, Artifact)
    assert moved.graph().path == artifact_copy / "pixels.onnx"


def keep_weights_in(artifact: Path, location: str) -> None:
    """Say in the graph that its weights are elsewhere, and record its new digest: as somebody would who means it."""
    path = artifact / "pixels.onnx"
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    files = json.loads((artifact / "artifact.json").read_text())["files"]
    change(artifact, files=files | {"pixels.onnx": folders.digest_file(path)})


@pytest.mark.parametrize("location", ["../pixels.onnx.data", "/etc/hostname", "sub/../../x", "unlisted.data", ""])
def test_a_graph_with_weights_elsewhere_is_refused(location, artifact_copy) -> None:
    (artifact_copy / "unlisted.data").write_bytes(bytes(100_000))
    keep_weights_in(artifact_copy, location)
    with pytest.raises(ArtifactError, match=rf"keeps weights in '{re.escape(location)}', which is no listed file"):
        load_artifact(artifact_copy)


@pytest.mark.parametrize("name", ["/etc/passwd", "sub/pixels.onnx", "..", "x\0y", "x" * 5000])
def test_files_are_plain_names(name, artifact_copy) -> None:
    document = json.loads((artifact_copy / "artifact.json").read_text())
    change(artifact_copy, files=document["files"] | {name: "0" * 64})
    with pytest.raises(ArtifactError, match=r"not a plain name|is listed and missing"):
        load_artifact(artifact_copy)
    change(artifact_copy, files=document["files"], graphs={"pixels": name})
    with pytest.raises(ArtifactError, match="does not list"):
        load_artifact(artifact_copy)


def test_a_parity_sample_is_never_unpickled(shared_artifact, artifact_copy, tmp_path) -> None:
    """Arrays of objects would be: what they hold is code."""
    with np.load(artifact_copy / "parity.npz") as arrays:
        found = dict(arrays)
    found["levels"] = np.array([Trap(tmp_path / "sprung")], object)
    np.savez(artifact_copy / "parity.npz", **found)
    with pytest.raises(ArtifactError, match="'levels' holds object"):
        load_sample(replace(shared_artifact, path=artifact_copy))
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_document_is_read_within_bounds(artifact_copy) -> None:
    os.truncate(artifact_copy / "artifact.json", MAX_BYTES + 1)
    with pytest.raises(ArtifactError, match=r"has 268,435,457 bytes, the limit is 268,435,456"):
        load_artifact(artifact_copy)
    (artifact_copy / "artifact.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="nested more than 64 deep"):
        load_artifact(artifact_copy)
