"""The doctor names what `auto` would pick, tries it on an artifact, and is honest about what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rate.artifacts.artifact import load_artifact
from rate.backends.openvino import cpu_has_bf16
from rate.cli.main import run
from rate.config import Execution
from rate.doctor import host
from rate.doctor.finding import Finding
from rate.doctor.host import diagnose
from rate.engine.choose_backend import spec_for
from rate.errors import ArtifactError


def findings(folder: Path, artifact: Path | None = None) -> dict[str, Finding]:
    return {finding.topic: finding for finding in diagnose(folder, artifact)}


def test_auto_is_told_in_the_order_in_which_it_tries(tmp_path: Path) -> None:
    found = findings(tmp_path)["auto"].found
    order = ["openvino bf16"] * cpu_has_bf16() + ["openvino f32", "onnxruntime f32"]
    assert found.startswith(", then ".join(order))


def test_auto_says_when_no_runtime_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "installed", lambda *names: "")
    found = findings(tmp_path)
    assert found["auto"].found.startswith("nothing")
    assert "rate-engine[cpu]" in found["auto"].remark
    assert found["Ray"].found == "not installed"


def test_with_an_artifact_the_self_test_is_carried_out(trained, tmp_path: Path) -> None:
    chosen = findings(tmp_path, trained.artifact)[f"auto for {trained.artifact}"]
    said: list[str] = []
    spec = spec_for(load_artifact(trained.artifact), Execution(), said.append)
    assert chosen.found == f"{spec.name} {spec.precision}"
    assert chosen.remark == "; ".join(said)


def test_no_artifact_is_a_clear_refusal(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        findings(tmp_path, tmp_path)


def test_the_command_prints_every_finding(trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", str(trained.artifact), "--json"]) == 0
    topics = [finding["topic"] for finding in json.loads(capsys.readouterr().out)]
    assert {"rate", "processor", "OpenVINO", "GPU", "Ray", "auto", "disk"} <= set(topics)


def test_the_address_of_a_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "installed", lambda *names: "2.60.0")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert "ray://head:10001" in findings(tmp_path)["Ray"].found
