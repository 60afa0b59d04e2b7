"""Small models on a shared machine: threads that wait for each other cost more than they bring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from made_once import made_once

from rate.artifacts.artifact import Artifact, load_artifact
from rate.export.export import ExportOptions, export_artifact


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Models of timm by name, each exported once; copy one before changing anything."""

    def export(name: str) -> Artifact:
        folder = made_once(
            tmp_path_factory, name, lambda root: export_artifact(f"timm:{name}", root / "artifact", ExportOptions())
        )
        return load_artifact(folder / "artifact")

    return cache(export)
