"""Weights files that are damaged or made to harm: each is one message that names the file."""

from __future__ import annotations

import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rate.artifacts.weights import read_state, state_digest
from rate.cli.main import run
from rate.errors import UsageError
from rate.finetune.state import TrainingState

MODEL = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
WRITERS: dict[str, Callable[[Path], Any]] = {
    "zip.pt": lambda path: torch.save(MODEL.state_dict(), path),
    "nested.pth": lambda path: torch.save({"state_dict": MODEL.state_dict(), "epoch": 3}, path),
    "old.pt": lambda path: torch.save(MODEL.state_dict(), path, _use_new_zipfile_serialization=False),
    "s.safetensors": lambda path: save_file(MODEL.state_dict(), path),
}


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Cut off, with some bytes changed, or with some bytes taken out or put in."""
    data = bytearray(whole)
    kind = rng.randrange(3)
    if kind == 0:
        del data[rng.randrange(len(data)) :]
    elif kind == 1:
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    else:
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
    return bytes(data)


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    assert state_digest(read_state(tmp_path / name)) == state_digest(MODEL.state_dict())
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about what the damage made of the file
        for seed in range(300):
            (tmp_path / name).write_bytes(damaged(whole, random.Random(seed)))
            try:
                state_digest(read_state(tmp_path / name))
            except UsageError as error:
                said.append(str(error))
    assert len(said) > 100
    assert all(str(tmp_path / name) in text for text in said)


def test_a_damaged_file_ends_the_command_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(MODEL.state_dict(), tmp_path / "w.pt")
    whole = bytearray((tmp_path / "w.pt").read_bytes())
    directory = whole.index(b"PK\x01\x02")
    whole[directory : directory + 4] = b"xxxx"
    (tmp_path / "w.pt").write_bytes(whole)
    assert run(["export", "timm:test_efficientnet:w.pt", "--out", "a"]) == 2
    assert "w.pt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 22)}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as plain, zipfile.ZipFile(tmp_path / "packed.pt", "w") as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(UsageError, match="compressed"):
        read_state(tmp_path / "packed.pt")


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(1 << 40), torch.zeros(4, 4).to_sparse(), torch.zeros(3, device="meta")],
    ids=["larger than the file", "sparse", "without values"],
)
def test_a_tensor_that_is_not_in_the_file_is_refused(tensor: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"w": tensor}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"w\.pt"):
        read_state(tmp_path / "w.pt")


def test_a_damaged_training_state_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "ck"
    state = TrainingState(out, {"a": 1}, force=False)
    state.save(1, {"w": torch.zeros(8)})
    [path] = [path for path in state.folder.iterdir() if path.is_file()]
    whole, said = path.read_bytes(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(150):
            path.write_bytes(damaged(whole, random.Random(seed)))
            try:
                TrainingState(out, {"a": 1}, force=False)
            except UsageError as error:
                said.append(str(error))
            TrainingState(out, {"a": 1}, force=True)
    assert len(said) > 50
    assert all("--force" in text for text in said)
