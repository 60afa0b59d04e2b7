"""The state of a training between its epochs, in a hidden folder beside its checkpoint."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from rate.errors import UsageError, first_line
from rate.files import remove_leftovers, storage_error, write_atomically
from rate.types import Json

_FILE = "state.pt"


class TrainingState:
    """A state that is saved atomically after an epoch and is refused by a training with other settings or data."""

    def __init__(self, out: Path, key: Json, force: bool) -> None:
        """Load the state beside ``out``.

        Args:
            out: the future checkpoint folder.
            key: everything that changes the trained weights, as JSON values.
            force: whether to discard the state of another training.

        Raises:
            UsageError: the state is of another training, or cannot be read.
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
        """Return the last argument of `save`, or None without a state; "epoch" is the number of the finished epoch."""
        return self._found

    def save(self, epoch: int, content: Json) -> None:
        """Replace the state by that after ``epoch``, from which the same command resumes.

        Raises:
            StorageError: it cannot be written; the previous state is whole.
        """
        value = {"key": json.dumps(self._key), "epoch": epoch, **content}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        write_atomically(self.folder / _FILE, lambda file: torch.save(value, file))

    def discard(self) -> None:
        """Delete the state of a finished or failed training. Other files in its folder stay."""
        remove_leftovers(self.folder)
        with suppress(OSError):  # there is no state, or the folder holds other files
            (self.folder / _FILE).unlink()
            self.folder.rmdir()

    def _mine(self, stored: Json) -> Json:
        theirs = json.loads(stored["key"])
        names = sorted(self._key.keys() | theirs.keys())
        if differs := [name for name in names if self._key.get(name) != theirs.get(name)]:
            raise UsageError(
                f"{self.folder} holds another training, interrupted after epoch {stored['epoch']}; it differs in "
                f"{', '.join(differs)}: repeat its command to go on with it, or add --force to drop it"
            )
        return stored

    def _read(self) -> Json:
        try:
            stored: Any = torch.load(self.folder / _FILE, map_location="cpu", weights_only=True)
        except Exception as error:  # unpickling a damaged file raises exceptions of any type
            raise UsageError(
                f"the training state in {self.folder} cannot be read ({first_line(error)}); add --force to start anew"
            ) from error
        if not isinstance(stored, dict) or not {"key", "epoch"} <= stored.keys():
            raise UsageError(f"{self.folder / _FILE} is no training state; add --force to start anew")
        return stored
