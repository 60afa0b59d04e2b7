"""Reading, loading and digests of weights."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rate.errors import UsageError, first_line, need

State = dict[str, Tensor]

_PICKLED = (".pt", ".pth", ".pyth", ".bin", ".ckpt")
_SHOWN = 4
_DAMAGED = "it is truncated or damaged: copy it again"


def read_state(path: Path) -> State:
    """Read the tensors of a weights file by name, without an outer "state_dict" or "model" and a "module." prefix.

    Raises:
        UsageError: the file is missing, of an unknown kind, broken, or needs more than tensors to be unpickled.
    """
    if not path.is_file():
        raise UsageError(f"weights file {path} does not exist; expected .safetensors, or .pt/.pth with tensors only")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PICKLED:
        return _tensors(_read_pickled(path), path)
    raise UsageError(f"weights file {path} ends in {path.suffix!r}; expected .safetensors, {', '.join(_PICKLED)}")


def _read_safetensors(path: Path) -> State:
    torch_io = need("safetensors.torch", "export")
    try:
        state: State = torch_io.load_file(path)
    except Exception as error:  # SafetensorError is not exported by its package
        raise UsageError(f"weights file {path} cannot be read as safetensors ({error}); {_DAMAGED}") from error
    return state


def under(state: Mapping[str, Tensor], prefix: str) -> State:
    """Select the tensors whose names start with ``prefix``, and remove it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def count_blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    """Count the blocks of a model whose names start with ``prefix`` and a number."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


def _read_pickled(path: Path) -> Any:
    members = _members(path)
    if any(one.filename.endswith("/constants.pkl") for one in members):  # torch.save writes no code
        raise UsageError(
            f"weights file {path} is a TorchScript archive, a program that loading it would run, so it is refused; "
            f"where you trust it, keep its tensors alone: torch.save(torch.jit.load({str(path)!r}, map_location='cpu')"
            ".state_dict(), 'weights.pth')"
        )
    # torch.save never compresses, and a small file could fill the memory
    if packed := [one.filename for one in members if one.compress_type != zipfile.ZIP_STORED]:
        raise UsageError(
            f"weights file {path} holds {packed[0]!r} compressed, which is refused; write it by torch.save"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"weights file {path} holds more than tensors, and unpickling that could run any code, so it is refused "
            "(or it is damaged); save the state dict alone (torch.save(model.state_dict(), FILE)) or as .safetensors"
        ) from error
    except Exception as error:  # unpickling a damaged file raises exceptions of any type
        raise UsageError(f"weights file {path} cannot be read ({first_line(error)}); {_DAMAGED}") from error


def _members(path: Path) -> list[zipfile.ZipInfo]:
    """List the members of an archive in torch.save's format; the list is empty for its older format.

    Raises:
        UsageError: the archive is damaged.
    """
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # damaged names and sizes raise exceptions of any type
        raise UsageError(f"weights file {path} cannot be read ({first_line(error)}); {_DAMAGED}") from error
    return members


def _tensors(state: Any, path: Path) -> State:
    for outer in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(outer), Mapping):
            state = state[outer]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"weights file {path} is no state dict (name -> tensor); save model.state_dict()")
    size = path.stat().st_size
    for name, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.nbytes > size:
            raise UsageError(
                f"weights file {path}: {name!r} is no plain tensor whose {value.numel():,} values are in the file; "
                "save it dense and contiguous"
            )
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def load_into(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Copy ``state`` into ``module``; every name and shape must match.

    Raises:
        UsageError: names the first mismatches; ``what`` names the weights.
    """
    own = module.state_dict()
    problems = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
            for name, value in own.items()
            if name in state and state[name].shape != value.shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise UsageError(f"{what} do not fit the model: {told}; they belong to another architecture or naming")
    module.load_state_dict(dict(state))


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Compute the sha256 over names, types, shapes and bytes; equal weights in different files have equal digests."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
