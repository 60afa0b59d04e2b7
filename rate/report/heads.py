"""RUN[@HEAD]: one head of a run folder with the sums of its rows, and the check that two heads are comparable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError, UsageError
from rate.runs.parts import iter_in_order
from rate.runs.remote import local_run
from rate.runs.rows import SCHEMA
from rate.runs.run_document import RunDocument, read_run
from rate.runs.summary.head_sums import HeadSums
from rate.runs.summary.slice_sums import Slice
from rate.runs.summary.summarise import HeadSummary, Summary, load_summary, summary_of, sums_of

VALUES = [field.name for field in SCHEMA if not pa.types.is_binary(field.type)]
"""The columns of a row without its sketches, which are three quarters of it."""


@dataclass(frozen=True, eq=False)
class HeadRun:
    """One head of a run."""

    folder: Path
    head: str
    run: RunDocument
    sums: HeadSums
    whole: Summary  # summary of all heads of the folder
    tables: Callable[[list[str]], Iterator[pa.Table]]  # reads ``id``, ``head``, columns and ``rank`` of all heads

    @property
    def name(self) -> str:
        """The name RUN@HEAD, with the folder's own name."""
        return f"{self.folder.resolve().name}@{self.head}"

    @property
    def summary(self) -> HeadSummary:
        """The accuracy, PT and IR of this head."""
        return self.whole.heads[self.head]

    @cached_property
    def slice(self) -> Slice:
        """The sums of all rows."""
        return self.sums.whole

    def batches(self, columns: list[str]) -> Iterator[pa.Table]:
        """Read ``id``, columns and ``rank`` of the rows of this head, part by part, in order of rank.

        Raises:
            RunError: a part is missing or damaged.
        """
        for table in self.tables(columns):
            yield table.filter(pc.equal(table["head"], self.head))

    def rows(self, columns: list[str] = VALUES) -> pa.Table:
        """Read columns of all rows at once, in order of id; see `batches`."""
        return pa.concat_tables(self.batches(columns)).select(columns).sort_by("id")

    @property
    def status(self) -> str:
        """The status: ``complete``, ``partial``, ``failed`` or ``running``."""
        return self.run.status


def load_heads(reference: str) -> list[HeadRun]:
    """Load every head that ``reference`` names: the one after ``@``, else all heads of the run in its own order.

    Raises:
        RunError: the run does not exist, or is damaged.
        UsageError: the run has no such head.
    """
    folder, wanted = split_reference(reference)
    run = read_run(folder)
    sums = sums_of(folder, run)
    whole, tables = summary_of(folder, run, sums), partial(iter_in_order, folder, run)
    return [HeadRun(folder, name, run, sums[name], whole, tables) for name in _named(whole, folder, wanted)]


def load_named_summary(reference: str) -> Summary:
    """Load the summary of the heads that ``reference`` names; see `load_heads`."""
    folder, wanted = split_reference(reference)
    whole = load_summary(folder)
    return replace(whole, heads={name: whole.heads[name] for name in _named(whole, folder, wanted)})


def load_head(reference: str) -> HeadRun:
    """Load the one head that ``reference`` names; a run of one head needs no ``@``.

    Raises:
        RunError: the run does not exist, or is damaged.
        UsageError: the run has no such head, or several and none is named.
    """
    heads = load_heads(reference)
    if len(heads) > 1:
        folder = heads[0].folder
        names = ", ".join(f"{folder}@{head.head}" for head in heads)
        raise UsageError(f"{folder} has {len(heads)} heads and one is needed; name it: {names}")
    return heads[0]


def _named(whole: Summary, folder: Path, wanted: str | None) -> list[str]:
    if wanted is None:
        return list(whole.heads)
    if wanted not in whole.heads:
        raise UsageError(f"{folder} has no head {wanted!r}; it has {', '.join(whole.heads)}")
    return [wanted]


def split_reference(reference: str) -> tuple[Path, str | None]:
    """Split RUN[@HEAD] into folder and head; an existing folder whose name has an ``@`` is not split.

    Raises:
        RunError: the run is at a URL and cannot be fetched.
    """
    if Path(reference).exists() or "@" not in reference:
        return local_run(reference), None
    folder, _, head = reference.rpartition("@")
    return local_run(folder), head


_IMAGES = ("corrupt", "corrupt_seed")


def incompatibilities(first: HeadRun, second: HeadRun, across: bool = False) -> list[str]:
    """List the differences that make two heads incomparable, each as ``name: first value, second value``.

    Weights, geometry, backend and precision may differ; ``across`` corruptions, so may what the images are under.
    """
    return [
        f"{name}: {_short(a)} in {first.name}, {_short(b)} in {second.name}"
        for name, a, b in differences(first.run, second.run, across)
    ]


def differences(first: RunDocument, second: RunDocument, across: bool = False) -> list[tuple[str, object, object]]:
    """List what makes two runs incomparable as name, first value, second value; see `incompatibilities`."""
    one, other = first.measurement, second.measurement
    had, has = first.identity, second.identity
    pairs = [("measurement.verdict", one.get("verdict"), other.get("verdict")), ("identity.data", had.data, has.data)]
    if one.get("verdict") == other.get("verdict"):  # else the other settings differ for that alone
        names = sorted((one.keys() | other.keys()) - (set(_IMAGES) if across else set()))
        pairs += [(f"measurement.{name}", one.get(name), other.get(name)) for name in names]
        pairs.append(("identity.bank", had.bank, has.bank))
    return [(name, a, b) for name, a, b in pairs if a != b]


def require_comparable(heads: list[HeadRun], across: bool = False) -> None:
    """Refuse heads whose data, other pictures, saliency, evidence, rule or tau differ; see `incompatibilities`.

    Raises:
        RunError: they differ; the message names the differences.
    """
    for other in heads[1:]:
        if differing := incompatibilities(heads[0], other, across):
            raise RunError(
                f"{heads[0].name} and {other.name} cannot be compared, they measured different things: "
                f"{'; '.join(differing)}. Evaluate both on the same data with the same settings; `rate agree` holds "
                "two saliency methods on one model against each other"
            )


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) > 40 else repr(value)
