"""Artifacts that cost seconds to make and are only read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx_models
import pytest
import torch

from rate.artifacts.artifact import Artifact
from rate.export.export import ExportOptions, export_artifact


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Small models on a shared machine: threads that wait for each other cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small exported ONNX model; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("artifact")
    source = onnx_models.Model(channels=16).save(folder / "model.onnx")
    classes = onnx_models.write_classes(folder / "classes.txt")
    return export_artifact(f"onnx:{source}", folder / "artifact", ExportOptions(classes=classes))


@pytest.fixture
def artifact_copy(shared_artifact: Artifact, tmp_path: Path) -> Path:
    """A folder of one's own."""
    return Path(shutil.copytree(shared_artifact.path, tmp_path / "artifact"))
