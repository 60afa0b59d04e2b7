"""`auto` takes the first backend that computes what the artifact says; a named one is used or refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from rate.backends.openvino import cpu_has_bf16
from rate.config import Execution, Measurement
from rate.engine.select import spec_for
from rate.errors import ParityError, UsageError
from rate.export.artifact import load_artifact


@pytest.fixture(scope="module")
def artifact(trained):
    return load_artifact(trained.artifact)


def test_auto_picks_openvino_in_the_best_precision_that_passes(artifact) -> None:
    said: list[str] = []
    spec = spec_for(artifact, Execution(threads=1), said.append)
    assert spec.name == "openvino"
    assert spec.precision == ("bf16" if cpu_has_bf16() and not said else "f32")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_named_backend_is_used(artifact, name: str) -> None:
    spec = spec_for(artifact, Execution(backend=name, precision="f32"))
    assert (spec.name, spec.precision) == (name, "f32")


def test_a_precision_that_a_backend_does_not_have_is_refused(artifact) -> None:
    with pytest.raises(UsageError, match="--backend onnxruntime does not compute in --precision bf16"):
        spec_for(artifact, Execution(backend="onnxruntime", precision="bf16"))


def test_a_backend_that_computes_something_else_is_never_used(artifact, tmp_path: Path) -> None:
    """A parity sample that says otherwise stands for a runtime that is wrong."""
    broken = tmp_path / "artifact"
    broken.mkdir()
    for path in artifact.path.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    with np.load(broken / "parity.npz") as arrays:
        changed = dict(arrays)
    changed["logits_lp"] = changed["logits_lp"][:, ::-1] + 1
    np.savez(broken / "parity.npz", **changed)
    document = json.loads((broken / "artifact.json").read_text())
    document["files"]["parity.npz"] = hashlib.sha256((broken / "parity.npz").read_bytes()).hexdigest()
    (broken / "artifact.json").write_text(json.dumps(document))
    said: list[str] = []
    with pytest.raises(ParityError, match="onnxruntime in f32 does not reproduce"):
        spec_for(load_artifact(broken), Execution(), said.append)
    assert all(text.startswith("passed over: openvino") for text in said)
    assert len(said) >= 1


def test_execution_settings_are_no_part_of_a_measurement() -> None:
    """Otherwise a batch size would change a run's key."""
    execution, measurement = ({field.name for field in dataclasses.fields(kind)} for kind in (Execution, Measurement))
    assert not execution & measurement
    assert set(Measurement().to_json()) <= measurement
