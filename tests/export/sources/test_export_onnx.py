"""Bare ONNX models: wrapped by surgery they compute what they computed, and what cannot be wrapped is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import perturbing
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Model

from rate.artifacts.artifact import Artifact
from rate.backends.onnxruntime import OrtSpec
from rate.errors import ParityError, RateError, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.graph.onnx_walk import shape
from rate.export.graph.perturbed import dims
from rate.kernels.separable import occlusion, rise
from rate.records import plain

SIZE = onnx_models.SIZE


def export(model: Model | Path, folder: Path, **options: object) -> Artifact:
    path = model if isinstance(model, Path) else model.save(folder / "model.onnx")
    classes = onnx_models.write_classes(folder / "classes.txt")
    return export_artifact(f"onnx:{path}", folder / "artifact", ExportOptions(**({"classes": classes} | options)))


def check_equals_raw(artifact: Artifact, source: Path | bytes, output: str | None = None) -> None:
    """RISE with another grid than any sample's, and occlusion, against the source on images masked by hand."""
    images = perturbing.pictures(2, SIZE)
    for perturbation in (rise(SIZE, 5), occlusion(SIZE, 7, 4)):
        rows = perturbing.draw(perturbation, len(images), 9)
        found = perturbing.run(OrtSpec(artifact.graph(), 1), perturbation, images, rows)["native"]
        masked = perturbing.by_hand(perturbation, images, rows)
        np.testing.assert_allclose(found, onnx_models.raw_logits(source, masked, output), atol=2e-5)


AWKWARD = {
    "opset 7": Model(opset=7),
    "opset 11": Model(opset=11),
    "opset 12": Model(opset=12),
    "opset 13": Model(opset=13),
    "opset 17": Model(opset=17),
    "opset 20": Model(opset=20),
    "initializers among the inputs": Model(opset=9, initializers_as_inputs=True),
    "input named as ours": Model(image="pixels"),
    "names as ours": Model(
        logits="logits_native",
        names={"conv": "mask", "relu": "grid", "w": "a", "fc": "rate_mask", "flat": "rate_images"},
    ),
    "renamed names taken": Model(image="slot", names={"conv": "source_slot", "relu": "source_slot_"}),
    "an input that nothing reads": Model(extra_input="unused"),
    "unnamed batch": Model(batch="?"),
    "batch of one": Model(batch=1),
    "batch of four": Model(batch=4),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_a_wrapped_model_computes_what_the_raw_one_does(name, tmp_path) -> None:
    model = AWKWARD[name]
    artifact = export(model, tmp_path)
    free = dataclasses.replace(model, batch="N", extra_input="")
    check_equals_raw(artifact, free.proto().SerializeToString())
    assert artifact.opset == model.opset
    assert artifact.family == "onnx"
    assert [(head.name, head.kind, head.classes) for head in artifact.heads] == [
        ("native", "linear", onnx_models.CLASSES)
    ]


def test_axes_are_dynamic_and_static_where_they_must_be(tmp_path) -> None:
    artifact = export(Model(batch=1), tmp_path)
    graph = onnx.load(artifact.graph().path, load_external_data=False).graph
    assert {value.name: shape(value) for value in graph.input} == dims(SIZE)
    assert [(value.name, shape(value)) for value in graph.output] == [("logits_native", ("B", 5))]
    onnx.checker.check_model(str(artifact.graph().path), full_check=True)


@pytest.mark.parametrize(("opset", "axis"), [(11, None), (11, 1), (17, None), (17, -1), (17, 1)])
def test_logits_are_what_goes_into_a_final_softmax(opset, axis, tmp_path) -> None:
    told: list[str] = []
    model = Model(opset=opset, softmax=True, softmax_axis=axis)
    classes = onnx_models.write_classes(tmp_path / "classes.txt")
    source = model.save(tmp_path / "model.onnx")
    artifact = export_artifact(f"onnx:{source}", tmp_path / "artifact", ExportOptions(classes=classes), told.append)
    check_equals_raw(artifact, dataclasses.replace(model, softmax=False).proto().SerializeToString())
    assert any("ends in a softmax" in text and "'raw'" in text for text in told)
    operators = {node.op_type for node in onnx.load(artifact.graph().path, load_external_data=False).graph.node}
    assert "Softmax" not in operators


def test_a_softmax_over_the_batch_is_no_classifier_s_end(tmp_path) -> None:
    model = Model(softmax=True, softmax_axis=0)
    with pytest.raises(ParityError):
        export(model, tmp_path)  # one by one it gives ones, in a batch it does not: refused for what it computes


def test_the_asked_output_is_taken_and_the_rest_is_dropped(tmp_path) -> None:
    model = Model(extra_output=True)
    with pytest.raises(UsageError, match="has the outputs scores, features; name the logits with --output"):
        export(model, tmp_path)
    with pytest.raises(UsageError, match="--output 'logit'"):
        export(model, tmp_path, output="logit")
    with pytest.raises(UsageError, match=r"--input 'picture': .* has the inputs image"):
        export(model, tmp_path, output="scores", input="picture")
    artifact = export(model, tmp_path, output="scores")
    check_equals_raw(artifact, tmp_path / "model.onnx", "scores")
    assert "Exp" not in {node.op_type for node in onnx.load(artifact.graph().path, load_external_data=False).graph.node}


def test_branches_that_read_outer_names_survive_the_renaming(tmp_path) -> None:
    """An If whose branches read the outer tensors `grid` and `table`: both must be renamed inside too."""
    base = Model(names={"flat": "grid", "fc": "table"})
    proto = base.proto()
    last = proto.graph.node.pop()
    assert last.op_type == "MatMul"

    def branch(name: str, factor: float) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Constant", [], [f"{name}_k"], value=numpy_helper.from_array(np.float32(factor))),
            helper.make_node("MatMul", ["grid", "table"], [f"{name}_m"]),
            helper.make_node("Mul", [f"{name}_m", f"{name}_k"], [f"{name}_out"]),
        ]
        return helper.make_graph(
            nodes, name, [], [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)]
        )

    proto.graph.node.extend(
        [
            helper.make_node("Constant", [], ["slot"], value=numpy_helper.from_array(np.bool_(True))),
            helper.make_node("If", ["slot"], ["scores"], then_branch=branch("yes", 3.0), else_branch=branch("no", 5.0)),
        ]
    )
    path = tmp_path / "model.onnx"
    onnx.save(proto, str(path))
    check_equals_raw(export(path, tmp_path), path)


def test_a_batch_fixed_inside_the_graph_is_refused_with_a_cure(tmp_path) -> None:
    with pytest.raises(
        UsageError, match=r"fixed to a batch of 1 inside the graph.*export it again with a dynamic batch"
    ):
        export(Model(batch=1, hard_batch=1), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.txt", "model.onnx"]


def test_a_model_that_never_gives_the_same_is_refused_and_nothing_stays_behind(tmp_path) -> None:
    with pytest.raises(ParityError, match=r"logits_native differ by up to .*, allowed is 0\.00\d+"):
        export(Model(noise=0.5), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.txt", "model.onnx"]


def test_a_failed_replacement_leaves_the_older_artifact(tmp_path) -> None:
    older = export(Model(), tmp_path)
    before = (older.path / "artifact.json").read_bytes()
    with pytest.raises(ParityError):
        export(Model(noise=0.5), tmp_path, force=True)
    assert (older.path / "artifact.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "classes.txt", "model.onnx"]


def external(folder: Path, location: str = "weights.bin") -> Path:
    """A model whose larger weights lie in ``location``, beside it at first."""
    path = folder / "model.onnx"
    onnx.save(
        Model(channels=16).proto(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=64
    )
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_beside_the_model_are_taken_along(tmp_path) -> None:
    source = external(tmp_path)
    artifact = export(source, tmp_path)
    check_equals_raw(artifact, Model(channels=16).proto().SerializeToString())
    assert set(artifact.files) == {"pixels.onnx", "pixels.onnx.data", "parity.npz"}
    source.unlink()
    (tmp_path / "weights.bin").unlink()
    check_equals_raw(artifact, Model(channels=16).proto().SerializeToString())  # it needs the source no longer


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/hostname", "sub/../../weights.bin", "C:\\w.bin", "..\\w.bin", "weights.bin\0"]
)
def test_external_weights_elsewhere_are_refused(location, tmp_path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(100_000))
    with pytest.raises(UsageError, match="outside its own folder"):
        export(external(folder, location), folder)


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("value", ["-1", "x", "9" * 30, ""])
def test_places_in_external_weights_that_are_not_there_are_refused(key: str, value: str, tmp_path: Path) -> None:
    source = external(tmp_path)
    model = onnx.load(str(source), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == key:
                entry.value = value
    source.write_bytes(model.SerializeToString())
    with pytest.raises(RateError, match=r"model\.onnx"):
        export(source, tmp_path)
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize("location", ["../weights.bin", "w" * 5000, "weights.bin"])
def test_external_sparse_values_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    values = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    values.external_data.add(key="location", value=location)
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[4])
    model = Model().proto()
    if location == "weights.bin":  # of what no node reads, this alone stays in the graph
        model.graph.sparse_initializer.append(sparse)
    else:
        model.graph.node.append(helper.make_node("Constant", [], ["unused"], sparse_value=sparse))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"model\.onnx"):
        export(tmp_path / "model.onnx", tmp_path)


@pytest.mark.timeout(60)
def test_nodes_that_read_themselves_are_refused(tmp_path: Path) -> None:
    model = Model().proto()
    [output] = model.graph.output
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Identity", [output.name], [output.name]))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"model\.onnx"):
        export(tmp_path / "model.onnx", tmp_path)


def test_a_link_out_of_the_folder_is_refused_and_a_missing_file_named(tmp_path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    source = external(folder)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    with pytest.raises(UsageError, match=r"'weights.bin', which is not beside it"):
        export(source, folder)
    (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(UsageError, match="outside its own folder"):
        export(source, folder)


REFUSED = {
    "float16 input": (Model(kind=TensorProto.FLOAT16), "is FLOAT16; only float32"),
    "channels last": (Model(channels_last=True), "expected .n, 3, height, width.; transpose it"),
    "not square": (Model(width=32), "takes 24 x 32 pixels; only square"),
    "any size": (Model(size="s"), "any size; add --size"),
    "two inputs": (Model(extra_input="used"), "has the inputs image, prompt; a model with one image input"),
    "ancient": (Model(opset=6), "uses opset 6, at least 7"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_wrapped_is_refused_with_the_reason(name, tmp_path) -> None:
    model, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        export(model, tmp_path)
    assert not (tmp_path / "artifact").exists()


def test_a_size_is_asked_for_where_the_graph_has_none_and_refused_where_it_has_another(tmp_path) -> None:
    artifact = export(Model(size="s"), tmp_path, size=SIZE)
    assert artifact.geometry.size == SIZE
    check_equals_raw(artifact, tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="fixed to 24 pixels"):
        export(Model(), tmp_path, size=32, force=True)
    with pytest.raises(UsageError, match="cannot be run on images of 10 x 10"):
        export(Model(size="s"), tmp_path, size=10, force=True)  # its second pooling has nothing to pool


def test_geometry_comes_from_the_options_and_what_is_assumed_is_said(tmp_path) -> None:
    source, classes = Model().save(tmp_path / "m.onnx"), onnx_models.write_classes(tmp_path / "classes.txt")
    told: list[str] = []
    assumed = export_artifact(f"onnx:{source}", tmp_path / "a", ExportOptions(classes=classes), told.append)
    assert (assumed.geometry.resize, assumed.geometry.interpolation) == (27, "bilinear")
    assert any("assumed --mean 0.485,0.456,0.406" in text and "--crop-pct 0.875" in text for text in told)
    told.clear()
    options = ExportOptions(
        classes=classes, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), interpolation="bicubic", crop_pct=1.0
    )
    given = export_artifact(f"onnx:{source}", tmp_path / "b", options, told.append)
    assert plain(given.geometry) == {
        "size": SIZE,
        "resize": SIZE,
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "crop": "center",
        "interpolation": "bicubic",
    }
    assert not any("assumed" in text for text in told)
    assert given.digest != assumed.digest


def test_classes_are_needed_and_must_be_as_many_as_the_logits(tmp_path) -> None:
    with pytest.raises(UsageError, match="has 5 classes without names; add --classes"):
        export(Model(), tmp_path, classes=None)
    few = onnx_models.write_classes(tmp_path / "few.txt", ("cat", "dog"))
    with pytest.raises(UsageError, match="has 2 names, the model has 5 classes"):
        export(Model(), tmp_path, classes=few)
    twice = onnx_models.write_classes(tmp_path / "twice.txt", ("cat", "dog", "eel", "fox", "dog"))
    with pytest.raises(UsageError, match="'dog' is on lines 2 and 5"):
        export(Model(), tmp_path, classes=twice)


def test_a_file_that_is_no_model_is_refused(tmp_path) -> None:
    (tmp_path / "text.onnx").write_text("hello, this is not a protobuf")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name, message in (
        ("text", "cannot be read|is not an ONNX"),
        ("empty", "is not an ONNX"),
        ("gone", "does not exist"),
    ):
        with pytest.raises(UsageError, match=message):
            export(tmp_path / f"{name}.onnx", tmp_path)
    with pytest.raises(UsageError, match="has no features for other heads"):
        export(Model(), tmp_path, heads=("lp=linear:x",))


def test_a_colon_in_the_path_is_part_of_it(tmp_path) -> None:
    folder = tmp_path / "a:b:c"
    folder.mkdir()
    assert export(Model(), folder).source.endswith("a:b:c/model.onnx")
