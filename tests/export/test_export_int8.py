"""An int8 export from manifest to run: proven, measured, picked by `auto`, and refused whole where it changes much."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import onnx_models
import openvino
import pytest
from msgspec import structs
from opening import chosen
from openvino import opset13 as ops
from perturbing import draw, pictures
from perturbing import run as forward
from PIL import Image

from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.records import ArtifactDocument
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.cli.main import run
from rate.data.manifest import read_manifest
from rate.errors import DataError, ParityError, UsageError
from rate.execution import Execution
from rate.export import export as export_module
from rate.export.export import ExportOptions, measure_flips
from rate.kernels.rise import Rise
from rate.records import schema_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures, dark and light in turn."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows = ["id,image,label,split,x0,y0,x1,y1"]
    for k in range(8):
        noise = rng.normal((60, 190)[k % 2], 40, (5, 5, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
        rows.append(f"s{k},{k}.png,{('dark', 'light')[k % 2]},test,0,0,20,20")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def source(manifest: Path) -> str:
    return f"onnx:{onnx_models.Model(channels=16, deep=True).save(manifest.parent / 'model.onnx')}"


@pytest.fixture(scope="module")
def classes(manifest: Path) -> Path:
    return onnx_models.write_classes(manifest.parent / "classes.txt", ("dark", "light", "eel", "fox", "gnu"))


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def artifact(source: str, classes: Path, manifest: Path, said: list[str]) -> Artifact:
    options = ExportOptions(classes=classes, precision="int8", calibrate=manifest, split="test", max_flips=1.0)
    return export_module.export(source, manifest.parent / "artifact", options, said.append)


def test_an_artifact_holds_both_graphs_and_says_what_int8_changes(artifact: Artifact, said: list[str]) -> None:
    loaded = load_artifact(artifact.path)
    assert loaded == artifact
    document = json.loads((artifact.path / "artifact.json").read_text())
    jsonschema.Draft202012Validator(schema_of(ArtifactDocument)).validate(document)
    assert document["precision"] == "int8"
    assert {"pixels.onnx", "pixels.xml", "pixels.bin", "parity.npz", "parity-int8.npz"} <= set(document["files"])
    assert (document["int8"]["changes"]["images"], document["int8"]["calibrated_on"]) == (8, 8)
    assert document["int8"]["calibration"]["images"] == 8
    (head,) = document["int8"]["changes"]["heads"]
    assert head["samples"] == 8
    assert 0 < head["max_abs_share"] < 0.2
    said_so = f"against f32, native: {head['verdicts']} of 8 verdicts and {head['predictions']} predictions differ"
    assert any(text.startswith(said_so) for text in said)


def test_the_digest_covers_the_int8_weights(artifact: Artifact) -> None:
    for name in ("pixels.xml", "pixels.bin", "pixels.onnx", "pixels.onnx.data"):
        assert structs.replace(artifact, files=artifact.files | {name: "0" * 64}).digest != artifact.digest
    assert structs.replace(artifact, files=artifact.files | {"parity-int8.npz": "0" * 64}).digest == artifact.digest


def test_int8_is_int8_and_near_f32(artifact: Artifact) -> None:
    perturbation = Rise(artifact.geometry.size, 7, (0.5,), "fixed", 8, 0).perturbation
    images = pictures(2, artifact.geometry.size)
    rows = draw(perturbation, 2, 8)
    f32 = forward(OpenVinoSpec(artifact.graph(), "f32", 1), perturbation, images, rows)["native"]
    int8 = forward(OpenVinoSpec(artifact.graph(precision="int8"), "int8", 1), perturbation, images, rows)["native"]
    assert 0 < np.abs(f32 - int8).max() < 0.5 * np.abs(f32).max()


def test_auto_takes_the_faster_one_and_a_precision_by_name_is_used(artifact: Artifact, said: list[str]) -> None:
    [(other, ratio)] = artifact.int8.speed.items()
    assert other == ("bf16" if cpu_has_bf16() else "f32")
    assert any(text.startswith(f"int8 makes {ratio:.2f} times the forwards/s of {other} here") for text in said)
    passed_over: list[str] = []
    for speed, expected in ((1.1, "int8"), (0.9, other)):
        timed = structs.replace(artifact, int8=structs.replace(artifact.int8, speed={other: speed}))
        assert chosen(timed, Execution(threads=1), passed_over.append).precision == expected
    assert passed_over == []
    for precision in ("f32", "int8"):
        assert chosen(artifact, Execution(precision=precision, threads=1)).precision == precision
    assert chosen(artifact, Execution(backend="onnxruntime", threads=1)).precision == "f32"


def test_int8_is_refused_where_it_cannot_be(artifact: Artifact) -> None:
    with pytest.raises(UsageError, match=r"has no pixels graph in int8; .* --precision int8 --calibrate MANIFEST"):
        chosen(structs.replace(artifact, graphs={"pixels": "pixels.onnx"}), Execution(precision="int8"))
    with pytest.raises(UsageError, match="--backend onnxruntime does not compute in --precision int8"):
        chosen(artifact, Execution(backend="onnxruntime", precision="int8"))
    with pytest.raises(UsageError, match="is a int8 graph; ONNX Runtime on the CPU runs f32 ones"):
        OrtSpec(artifact.graph(precision="int8"))
    with pytest.raises(UsageError, match="is a f32 graph and cannot be computed in int8"):
        OpenVinoSpec(artifact.graph(), "int8")
    with pytest.raises(UsageError, match="is a int8 graph and cannot be computed in bf16"):
        OpenVinoSpec(artifact.graph(precision="int8"), "bf16")


def test_an_int8_graph_that_changes_verdicts_is_refused(artifact: Artifact, manifest: Path) -> None:
    """Logits in the other order stand for a quantization that went wrong."""
    samples = read_manifest(manifest).samples
    turned = _with_turned_head(artifact)
    (flips,) = measure_flips(turned, samples, samples, allowed=1.0).heads
    assert (flips.head, flips.predictions) == ("native", len(samples))
    with pytest.raises(ParityError, match=r"a share of 1\.000, allowed is 0\.02; .*--max-flips"):
        measure_flips(turned, samples, samples, allowed=0.02)


def _with_turned_head(artifact: Artifact) -> Artifact:
    """The int8 graph with its logits in the other order."""
    path = artifact.path.parent / "turned"
    if not path.exists():
        shutil.copytree(artifact.path, path)
        model = openvino.Core().read_model(str(artifact.path / "pixels.xml"))
        [result] = model.get_results()
        source = result.input_value(0)
        turned = ops.gather(source, ops.constant(np.array([4, 3, 2, 1, 0])), ops.constant(1))
        turned.output(0).get_tensor().set_names({"logits_native"})
        source.get_tensor().set_names(set())
        model = openvino.Model([turned], model.get_parameters(), "turned")
        openvino.save_model(model, str(path / "pixels.xml"), compress_to_fp16=False)
    return structs.replace(artifact, path=path)


def test_the_command_refuses_and_leaves_nothing_behind(
    source: str, classes: Path, manifest: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise ParityError("int8 changes too much")

    monkeypatch.setattr(export_module, "measure_flips", refuse)
    arguments = ["export", source, "--classes", str(classes), "--out", str(tmp_path / "a"), "--precision", "int8"]
    arguments.append("--calibrate")
    assert run([*arguments, str(manifest), "--calibration-images", "2", "--json"]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "int8 changes too much" in shown.err
    assert list(tmp_path.iterdir()) == []
    assert run([*arguments, str(tmp_path / "gone.csv")]) == 2
    assert "gone.csv" in capsys.readouterr().err


def test_an_evaluation_in_int8_says_so(artifact: Artifact, manifest: Path, tmp_path: Path, capsys) -> None:
    arguments = ["eval", str(artifact.path), str(manifest), "--out", str(tmp_path / "run"), "--masks", "20"]
    assert run([*arguments, "--precision", "int8", "--threads", "1", "--limit", "2"]) == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["identity"]["precision"] == "int8"
    capsys.readouterr()
    assert run(["inspect", str(artifact.path)]) == 0
    assert "int8       calibrated on 8 images, 8 of the 8 compared among them" in capsys.readouterr().out


def test_what_int8_cannot_answer_counts_as_changed(artifact: Artifact, manifest: Path, monkeypatch) -> None:
    samples, whole = read_manifest(manifest).samples, export_module.answers

    def loses_most(job, spec):
        found = whole(job, spec)
        return found if spec.precision == "f32" else {key: found[key] for key in sorted(found)[:1]}

    monkeypatch.setattr(export_module, "answers", loses_most)
    (flips,) = measure_flips(artifact, samples, samples, allowed=1.0).heads
    assert flips.samples == len(samples)
    assert flips.predictions >= len(samples) - 1
    with pytest.raises(ParityError, match="int8 changes too much"):
        measure_flips(artifact, samples, samples, allowed=0.5)


def test_a_set_without_pictures_of_other_classes_is_refused_in_one_message(artifact: Artifact, manifest: Path) -> None:
    samples = read_manifest(manifest).samples
    with pytest.raises(DataError, match=r"--calibrate: .* as few as 0 of 4 .* and 4 are needed"):
        measure_flips(artifact, samples, samples[::2], allowed=1.0)
