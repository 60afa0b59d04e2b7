"""The state of a training between its epochs, in a hidden folder beside the checkpoint that it will become."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from rate.errors import UsageError
from rate.files import remove_leftovers, storage_error, write_atomically
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
        """Replace the state by that after ``epoch``; the same command goes on from there.

        Raises:
            StorageError: it cannot be written; the one before is whole.
        """
        value = {"key": json.dumps(self._key), "epoch": epoch, **content}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        write_atomically(self.folder / _FILE, lambda file: torch.save(value, file))

    def discard(self) -> None:
        """Forget it: the training is over, or led nowhere. Nothing but the state is deleted with its folder."""
        remove_leftovers(self.folder)
        with suppress(OSError):  # it was never written, or the folder holds what is not ours
            (self.folder / _FILE).unlink()
            self.folder.rmdir()

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
        except Exception as error:  # a damaged file leads the unpickler to exceptions of any type
            line = str(error).partition("\n")[0]
            raise UsageError(
                f"the training state in {self.folder} cannot be read ({line}); add --force to start anew"
            ) from error
        if not isinstance(found, dict) or not {"key", "epoch"} <= found.keys():
            raise UsageError(f"{self.folder / _FILE} is no training state; add --force to start anew")
        return found
