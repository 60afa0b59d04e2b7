"""The settings of a bench."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from rate.config import Measurement, number_or_word
from rate.errors import ConfigError
from rate.execution import BATCH, ON_CUDA, THREADS, Execution
from rate.option import Settings, option, options_of, separated

LADDER = (64, 128, 256, 512)
"""The batches that are measured on a GPU if none is given."""

_CLIMB = ", ".join(map(str, LADDER))
_VALUES = "Values to measure, separated by commas"
_WHOLE = "whole numbers separated by commas, as 8,32,64"


def _choices(name: str) -> str:
    return options_of(Execution)[name].in_words()


@dataclass(frozen=True, slots=True)
class BenchSettings(Settings):
    """The values to measure, with the number and length of the measurements, the images and the files of rows."""

    batch: tuple[int, ...] = option(
        (0,),
        f"Rows a forward: 8,32,64; 0 = {BATCH}, on a GPU {_CLIMB}",
        panel=_VALUES,
        parse=separated(int),
        expected=_WHOLE,
    )
    masks: tuple[int | str, ...] = option(
        (256,), "Masks an image: 256,1000,auto", panel=_VALUES, parse=separated(number_or_word)
    )
    backend: tuple[str, ...] = option(("auto",), _choices("backend"), panel=_VALUES, parse=separated(str))
    precision: tuple[str, ...] = option(
        ("auto",),
        f"{_choices('precision')}; auto measures all that `rate eval` would try",
        panel=_VALUES,
        parse=separated(str),
    )
    device: str = option("auto", "auto: the CPU, and a GPU if there is one | cpu | cuda | cuda:N; of several the first")
    rounds: int = option(3, "Measurements of everything, interleaved.", within=(1, 1000))
    seconds: float = option(3.0, "Target length of one measurement; the engine measures one image at least.")
    threads: int = option(0, THREADS, within=(0, 1024))
    data: Path | None = option(None, "Manifest of real images, decoding included; without it, the parity sample.")
    split: str | None = option(None, "Only rows of this split of --data.")
    csv: Path | None = option(None, "Append one row a configuration.", panel="Output")
    against: Path | None = option(
        None, "Compare with the last rows of the same configurations and machine in this --csv.", panel="Output"
    )

    def batches_on(self, backend: str) -> tuple[int, ...]:
        """Return the batches to measure on a backend of that name, in order."""
        usual = LADDER if backend in ON_CUDA else (BATCH,)
        return tuple(dict.fromkeys(rows for given in self.batch for rows in ((given,) if given else usual)))

    def __post_init__(self) -> None:
        self.check_options()
        for name in ("batch", "masks", "backend", "precision"):
            if not getattr(self, name):
                raise ConfigError(f"{name} must name at least one value, got none")
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        if not (math.isfinite(self.seconds) and 0 < self.seconds <= 3600):
            raise ConfigError(f"seconds must lie above 0 and be at most 3600, got {self.seconds}")
        if self.split is not None and self.data is None:
            raise ConfigError(f"--split {self.split} needs the manifest that it is a split of; add --data MANIFEST")
        for masks in self.masks:
            Measurement(verdict="map", masks=masks)
        for backend, precision, batch in product(self.backend, self.precision, self.batch):
            Execution(backend, precision, batch, self.threads, device=self.device)
