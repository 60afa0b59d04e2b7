"""The state of a training between its epochs, in a hidden folder beside the checkpoint that it will become."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from rate.errors import RateError, UsageError
from rate.types import Json

_FILE = "state.pt"


class TrainingState:
    """Saved atomically after an epoch; a training of other settings or data is never taken for this one."""

    def __init__(self, out: Path, key: Json, force: bool) -> None:
        """Look for a state beside ``out``.

        Args:
            out: the checkpoint folder to be.
            key: all that changes the course of the training, JSON values.
            force: drop the state of another training.

        Raises:
            UsageError: there is one of another training, or one that cannot be read.
        """
        self.folder = out.absolute().with_name(f".{out.absolute().name}.training")
        self._key = key
        self._found: Json | None = None
        if not (self.folder / _FILE).is_file():
            return
        try:
            self._found = self._mine(self._read())
        except UsageError:
            if not force:
                raise

    def restore(self) -> Json | None:
        """What `save` was given last, None = nothing; "epoch" says after which."""
        return self._found

    def save(self, epoch: int, content: Json) -> None:
        """Replace the state by that after ``epoch``.

        Raises:
            RateError: it cannot be written.
        """
        draft = self.folder / f"{_FILE}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as stream:
                torch.save({"key": json.dumps(self._key), "epoch": epoch, **content}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self.folder / _FILE)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            raise RateError(
                f"the state after epoch {epoch} cannot be written to {self.folder} ({error}); make room there and "
                "repeat the command: it goes on from the epoch before"
            ) from error

    def discard(self) -> None:
        """Forget it: the training is over, or led nowhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mine(self, found: Json) -> Json:
        theirs = json.loads(found["key"])
        names = sorted(self._key.keys() | theirs.keys())
        if differs := [name for name in names if self._key.get(name) != theirs.get(name)]:
            raise UsageError(
                f"{self.folder} holds another training, interrupted after epoch {found['epoch']}; it differs in "
                f"{', '.join(differs)}: repeat its command to go on with it, or add --force to drop it"
            )
        return found

    def _read(self) -> Json:
        try:
            found: Any = torch.load(self.folder / _FILE, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
            line = str(error).partition("\n")[0]
            raise UsageError(
                f"the training state in {self.folder} cannot be read ({line}); add --force to start anew"
            ) from error
        if not isinstance(found, dict) or not {"key", "epoch"} <= found.keys():
            raise UsageError(f"{self.folder / _FILE} is no training state; add --force to start anew")
        return found
