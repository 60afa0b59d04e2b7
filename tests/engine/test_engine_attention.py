"""A run by gradients: ordinary rows of an ordinary run, from a source that is proven to be the artifact's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from msgspec import structs
from PIL import Image

import rate
from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.records import Request
from rate.cli.main import run
from rate.config import Measurement
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.engine.verdicts.map_verdict import EVIDENCE_KINDS, HeadEvidence, verdict_on
from rate.engine.verdicts.prediction import Prediction
from rate.errors import ArtifactError, UsageError
from rate.export.sources.attention import Attentive
from rate.export.sources.reopen import reopen
from rate.kernels.relevance import bounds, upsample
from rate.kernels.saliency import Bounds
from rate.records import record
from rate.report.schemas import all_schemas
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run

ATTENTION = ("--saliency", "attention", "--threads", "1")


def rows_of(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_rows(folder, read_run(folder)).to_pylist()}


@pytest.fixture(scope="module")
def finished(tiny_vit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("attention") / "run"
    assert run(["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(out), *ATTENTION]) == 0
    return out


def test_rows_hold_what_the_map_of_the_torch_model_says(tiny_vit, finished: Path) -> None:
    artifact = load_artifact(tiny_vit.artifact)
    model, rows = Attentive(reopen(artifact)), rows_of(finished)
    assert len(rows) == 4
    for sample in read_manifest(tiny_vit.manifest).samples:
        row, prepared = rows[sample.id], prepare(sample, artifact.geometry)
        column = artifact.heads[0].classes.index(sample.label)
        logits, maps = model.explain(prepared.picture.pixels[None], lambda _, c=column: {"zs": np.array([c])}, "logit")
        full = upsample(maps["zs"], 32)[0]
        shifted = (full - full.min()) / (full.max() - full.min())
        mass = {kind: one[prepared.region].sum() / one.sum() for kind, one in (("minmax", shifted), ("positive", full))}
        for kind, value in mass.items():
            assert row[f"rma_{kind}"] == pytest.approx(value, abs=1e-5)
        assert row["rma_raw"] == row["rma_positive"]
        assert row["prediction"] == artifact.heads[0].classes[int(logits["zs"][0].argmax())]
        assert row["valid"] == row["valid_absolute"] == (mass["minmax"] >= 0.5)
        assert row["ceiling"] == pytest.approx(bounds(prepared.region, 4).ceiling)
        assert (row["forwards"], row["settled"], row["rma_se"], row["error"]) == (1, "fixed", None, None)


def test_its_files_follow_the_schemas_and_are_shown_and_reported(finished: Path, tmp_path: Path, capsys) -> None:
    schemas = all_schemas()
    for name in ("run", "summary"):
        jsonschema.validate(json.loads((finished / f"{name}.json").read_text()), schemas[name])
    described = read_run(finished)
    assert (described.identity.backend, described.rule.saliency) == ("torch", "attention")
    assert described.rule.evidence == "minmax"
    assert run(["show", str(finished)]) == 0
    assert "attention, no masks, gradients; logit of the label; minmax evidence" in capsys.readouterr().out
    assert run(["report", str(finished), "--out", str(tmp_path / "report.html")]) == 0
    assert "Gradient-weighted attention" in (tmp_path / "report.html").read_text()


def test_batch_size_changes_no_verdict_and_the_same_command_goes_on(tiny_vit, finished: Path, tmp_path: Path) -> None:
    command = ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(tmp_path / "run"), *ATTENTION]
    assert run([*command, "--batch", "3"]) == 0
    assert run([*command, "--batch", "1"]) == 0
    assert [session.samples for session in read_run(tmp_path / "run").sessions] == [4, 0]
    one, two = rows_of(finished), rows_of(tmp_path / "run")
    assert one.keys() == two.keys()
    for key, row in one.items():
        assert two[key]["rma_minmax"] == pytest.approx(row["rma_minmax"], abs=1e-5)
        assert two[key]["valid"] == row["valid"]


@pytest.mark.parametrize("rule", [(), ("--evidence", "positive", "--valid", "absolute")], ids=["published", "own"])
def test_regions_without_an_edge_are_judged_by_the_papers_rule_alone(tiny_vit, tmp_path: Path, rule) -> None:
    """The paper's script gives a full region the whole mass and an empty one none."""
    shutil.copy(tiny_vit.manifest.parent / "0.png", tmp_path)
    for name, level in (("full", 255), ("empty", 0)):
        Image.fromarray(np.full((40, 40), level, np.uint8)).save(tmp_path / f"{name}.png")
    lines = ["id,image,label,mask", *(f"{name},0.png,dark,{name}.png" for name in ("full", "empty"))]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    command = ["eval", str(tiny_vit.artifact), str(tmp_path / "manifest.csv"), "--out", str(tmp_path / "run")]
    assert run([*command, *ATTENTION, *rule]) == 0
    rows = rows_of(tmp_path / "run")
    found = {name: (row["valid"], row["undefined_reason"]) for name, row in rows.items()}
    if rule:
        assert found == {"full": (None, "full-region"), "empty": (None, "empty-region")}
    else:
        assert found == {"full": (True, None), "empty": (False, None)}
        assert [rows[name]["rma_minmax"] for name in ("full", "empty")] == [1.0, 0.0]
        also = rate.load_run(tmp_path / "run").heads["zs"].also
        assert all(other.pt.denominator == 0 for other in also), "by the other rules they have no verdict"
    assert [row["valid_midpoint"] for row in rows.values()] == [None, None]


def test_a_map_without_numbers_is_undefined_under_the_papers_rule(tiny_vit) -> None:
    """Scaling a constant map to [0, 1] divides 0 by 0."""
    artifact = load_artifact(tiny_vit.artifact)
    [sample, *_] = read_manifest(tiny_vit.manifest).samples
    prediction = Prediction("zs", "dark", 0.9, True, "dark", 1.0, None)
    flat = dict.fromkeys(EVIDENCE_KINDS, np.zeros((32, 32)))
    published = Measurement(saliency="attention")
    for as_published, reason in ((True, "nan-map"), (False, "zero-evidence")):
        evidence = HeadEvidence(flat, Bounds(0.9, 0.1), 1, "fixed", as_published=as_published)
        verdict = verdict_on(evidence, prepare(sample, artifact.geometry), prediction, published)
        assert (verdict.valid, verdict.reason) == (None, reason)


def test_a_broken_image_is_a_row_and_the_python_form_gives_the_same(tiny_vit, finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_vit.manifest.parent, tmp_path / "set"))
    (folder / "1.png").write_bytes(b"no picture")
    summary = rate.evaluate(
        tiny_vit.artifact, folder / "manifest.csv", tmp_path / "run", saliency="attention", max_errors=2.0, threads=1
    )
    assert (summary.samples, summary.errors) == (4, 1)
    rows = rows_of(tmp_path / "run")
    assert rows["s1"]["error"] is not None
    assert rows["s2"]["rma_minmax"] == pytest.approx(rows_of(finished)["s2"]["rma_minmax"], abs=1e-5)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--workers", "2"], "runs in one process"),
        (["--device", "cuda"], "in one process, on the CPU"),
        (["--dry-run"], "neither --dry-run"),
        (["--evidence", "minmax", "--valid", "midpoint"], "add --valid absolute"),
    ],
)
def test_what_gradients_cannot_do_is_refused(tiny_vit, tmp_path: Path, extra, message, capsys) -> None:
    command = ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(tmp_path / "run"), *ATTENTION]
    assert run([*command, *extra]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_explain_says_that_attention_is_for_eval(tiny_vit, tmp_path: Path, capsys) -> None:
    image = tiny_vit.manifest.parent / "0.png"
    command = ["explain", str(tiny_vit.artifact), str(image), "--saliency", "attention"]
    assert run([*command, "--out", str(tmp_path / "heat.png")]) == 2
    assert "`rate eval` alone measures it" in capsys.readouterr().err


def asked(classes: Path, templates: Path | None = None) -> dict:
    return {"classes": str(classes), "templates": templates and str(templates), "heads": []}


def with_document(tiny_vit, folder: Path, **changes: object) -> Artifact:
    """A copy of the artifact that names another source."""
    path = Path(shutil.copytree(tiny_vit.artifact, folder / "artifact"))
    document = json.loads((path / "artifact.json").read_text())
    jsonschema.validate(document | changes, all_schemas()["artifact"])
    (path / "artifact.json").write_text(json.dumps(document | changes))
    return load_artifact(path)


def test_a_source_that_moved_or_changed_is_refused_with_the_cure(tiny_vit, tmp_path: Path) -> None:
    config = Path(shutil.copy(tiny_vit.source.partition(":")[2], tmp_path / "tiny.json"))
    classes = Path(shutil.copy(tiny_vit.classes, tmp_path / "classes.txt"))
    artifact = with_document(tiny_vit, tmp_path, source=f"open_clip:{config}", request=asked(classes))
    assert reopen(artifact).source == f"open_clip:{config}"
    classes.write_text("light\ndark\n")
    with pytest.raises(ArtifactError, match=r"no longer what .* was exported from"):
        reopen(artifact)
    templates = tmp_path / "templates.txt"
    templates.write_text("one {}\n")
    classes.write_text("dark\nlight\n")
    with pytest.raises(ArtifactError, match=r"no longer gives the logits .* export it again"):
        reopen(structs.replace(artifact, request=record(Request, asked(classes, templates))))
    with pytest.raises(ArtifactError, match="give --classes FILE"):
        reopen(structs.replace(artifact, request=None))
    config.rename(tmp_path / "gone.json")
    with pytest.raises(ArtifactError, match=r"cannot be opened from here .*put it back, or export it again"):
        reopen(artifact)


def test_a_convolutional_checkpoint_and_a_bare_graph_are_refused(trained, tiny_vit) -> None:
    with pytest.raises(UsageError, match=r"no plain vision transformer .*--saliency rise"):
        Attentive(reopen(load_artifact(trained.artifact)))
    with pytest.raises(UsageError, match="from which no PyTorch model can be opened"):
        reopen(structs.replace(load_artifact(tiny_vit.artifact), family="onnx"))


def test_its_verdicts_can_be_held_against_those_of_masks(tiny_vit, finished: Path, tmp_path: Path, capsys) -> None:
    command = [
        "eval",
        str(tiny_vit.artifact),
        str(tiny_vit.manifest),
        "--out",
        str(tmp_path / "rise"),
        "--threads",
        "1",
    ]
    assert run([*command, "--masks", "24", "--backend", "onnxruntime"]) == 0
    capsys.readouterr()
    assert run(["agree", str(tmp_path / "rise"), str(finished), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judged"] + sum(found["undefined"].values()) == 4
    assert (found["first"]["rule"]["saliency"], found["second"]["rule"]["saliency"]) == ("rise", "attention")
