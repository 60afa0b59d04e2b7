"""The check that the list of parts in run.json is consistent: every sample once, with a row of every head."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from rate.errors import RunError
from rate.runs.run_document import ListedPart, RunDocument
from rate.runs.tables import about_of

KEY = "rate.key"
"""The metadata key under which a part stores the run's key."""

CURE = "`rate eval ... --repair`, with the arguments of the run, evaluates its samples again"
_RELIST = "`rate eval ... --repair`, with the arguments of the run, makes the list again from the parts that are there"
_DIGEST_BYTES = 16


def part_name(key: str, ids: Iterable[str]) -> str:
    """Return the name of a part with these samples in the run of that key; equal samples give equal names."""
    return f"part-{hashlib.sha256(json.dumps([key, sorted(set(ids))]).encode()).hexdigest()[:16]}.parquet"


def is_part_name(name: str) -> bool:
    """Tell whether `part_name` can have made a name."""
    return re.fullmatch(r"part-[0-9a-f]{16}\.parquet", name) is not None


def fault_of(table: pa.Table, name: str, key: str, heads: Iterable[str]) -> str | None:
    """Describe the fault of the rows (their columns ``id`` and ``head``) of the part ``name``, or return None.

    Every sample must have one row of every head, and the samples must be those that the name is a digest of.
    """
    own = about_of(table, KEY)
    if own is not None and own != key:
        return f"belongs to the run with key {own[:12]}, not to that with key {key[:12]}"
    ids = table["id"].to_pylist()
    rows = set(zip(ids, table["head"].to_pylist(), strict=True))
    if name != part_name(key, ids):
        return "holds other samples than its name says"
    if len(rows) != len(ids) or rows != {(one, head) for one in set(ids) for head in heads}:
        return f"does not hold one row of each head ({', '.join(heads)}) for each of its samples"
    return None


class ListCheck:
    """Compares the parts of a run with its list while they are read, in 16 bytes for each sample."""

    def __init__(self, folder: Path, run: RunDocument) -> None:
        """Check the list alone.

        Raises:
            RunError: it names a part twice.
        """
        self._folder, self._run = folder, run
        self._heads = [head.name for head in run.heads]
        self._digests = bytearray()
        counted = Counter(part.name for part in run.parts)
        if twice := next((name for name, count in counted.items() if count > 1), None):
            raise RunError(f"{folder / 'run.json'} lists {twice} {counted[twice]} times; {_RELIST}")

    def take(self, part: ListedPart, table: pa.Table) -> None:
        """Check one part, of which at least ``id`` and ``head`` were read.

        Raises:
            RunError: its rows are not those of its name and of the run's heads.
        """
        if fault := fault_of(table, part.name, self._run.key, self._heads):
            raise RunError(f"{self._folder / 'samples' / part.name} {fault}: the part was changed; {CURE}")
        for identifier in set(table["id"].to_pylist()):
            self._digests += hashlib.blake2b(identifier.encode(), digest_size=_DIGEST_BYTES).digest()

    def finish(self) -> None:
        """Check all parts together.

        Raises:
            RunError: two of them hold the same sample, there are more samples than the data set has, or fewer although
                the run is complete.
        """
        place, available = self._folder / "run.json", self._run.samples.available
        stored = len(self._digests) // _DIGEST_BYTES
        once = len(np.unique(np.frombuffer(self._digests, f"S{_DIGEST_BYTES}")))
        if once < stored:
            raise RunError(f"the parts that {place} lists hold {stored - once} samples twice; {_RELIST}")
        if stored > available:
            raise RunError(f"the parts that {place} lists hold {stored} of {available} samples; {_RELIST}")
        if stored < available and self._run.status == "complete":
            raise RunError(
                f"{place} says complete, and the parts that it lists hold {stored} of {available} samples; {_RELIST}"
            )
