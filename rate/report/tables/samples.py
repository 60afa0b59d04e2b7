"""The samples of a run in one state: wrong, on invalid evidence, without a verdict, or without a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rate.records import Count, Document, Record, Share, record
from rate.report.heads import HeadRun
from rate.runs.run_document import Rule
from rate.types import Json

Kind: TypeAlias = Literal["wrong", "invalid", "undefined", "errors"]

_WORDS = {
    "wrong": "predicted wrong",
    "invalid": "on invalid evidence",
    "undefined": "without a verdict",
    "errors": "without a prediction",
}
_SHOWN = 50
_COLUMNS = [
    "head",
    "label",
    "prediction",
    "probability",
    "valid",
    "share_se",
    "rma_se",
    "settled",
    "undefined_reason",
    "error",
]


class ListedSample(Record, frozen=True):
    """One sample of one head."""

    id: str
    head: str
    label: str
    prediction: str | None
    probability: Share | None
    valid: bool | None
    value: Annotated[float | None, Meta(description="share of the region, localization or relevance mass, by the rule")]
    value_se: Annotated[float | None, Meta(description="standard error of the share or of the relevance mass")]
    settled: str
    reason: Annotated[str | None, Meta(description="why there is no verdict")]
    error: Annotated[str | None, Meta(description="why there is no prediction")]


class SampleListDocument(Document, frozen=True, tag="rate.sample-list/1"):
    """The document of `rate show --samples --json`."""

    run: str
    kind: Kind
    quantity: Annotated[str, Meta(description="what ``value`` is")]
    count: Count
    samples: tuple[ListedSample, ...]


def listed(heads: Sequence[HeadRun], kind: Kind, top: int | None = None) -> SampleListDocument:
    """List the samples of one kind of heads of one run, head by head.

    They are in order of id. With ``top`` there are only so many of each head, the worst first: wrong predictions by
    their probability, the highest first, and those on invalid evidence by what is compared with tau, the lowest first.
    """
    rule = heads[0].summary.rule
    columns = list(dict.fromkeys([*_COLUMNS, "correct", rule.judged_column]))
    order = {"wrong": [("probability", "descending")], "invalid": [(rule.judged_column, "ascending")]}
    by = [*(order.get(kind, []) if top is not None else []), ("id", "ascending")]
    count, samples = 0, list[ListedSample]()
    for head in heads:
        own: list[pa.Table] = []
        for rows in head.batches(columns):
            count += len(of_kind := _of_kind(rows, kind))
            own.append(of_kind)
            if top is not None:
                own = [pa.concat_tables(own).sort_by(by).slice(0, top)]
        samples += [_listed(row, rule) for row in pa.concat_tables(own).sort_by(by).to_pylist()]
    return SampleListDocument(str(heads[0].folder), kind, rule.quantity, count, tuple(samples))


def samples_table(chosen: SampleListDocument, most: int = _SHOWN) -> RenderableType:
    """Format one line for each sample; of a list of all, for the first ``most``."""
    whole = len(chosen.samples) == chosen.count
    most = most if whole else len(chosen.samples)
    table = Table(box=None, pad_edge=False)
    for column in ("sample", "head", "label", "prediction", "probability", chosen.quantity, "why"):
        numeric = column in ("probability", chosen.quantity)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=numeric)
    for sample in chosen.samples[:most]:
        table.add_row(
            sample.id,
            sample.head,
            sample.label,
            sample.prediction or "",
            "" if sample.probability is None else f"{sample.probability:.3f}",
            _value(sample),
            sample.error or sample.reason or ("not clear" if sample.settled == "capped" else ""),
        )
    shown = "" if chosen.count <= most else f", the first {most}; --json lists all"
    shown = shown if whole else f", the {most} worst"
    title = Text(f"{chosen.run}: {chosen.count:,} {_WORDS[chosen.kind]}{shown}", style="bold")
    return Group(title, *([table] if chosen.samples else []))


def _of_kind(rows: pa.Table, kind: Kind) -> pa.Table:
    chosen = {
        "wrong": lambda: pc.invert(rows["correct"]),
        "invalid": lambda: pc.invert(rows["valid"]),
        "undefined": lambda: pc.is_valid(rows["undefined_reason"]),
        "errors": lambda: pc.is_valid(rows["error"]),
    }[kind]()
    return rows.filter(chosen)


def _listed(row: Json, rule: Rule) -> ListedSample:
    errors = {"share": "share_se", "rma_positive": "rma_se"}
    values = row | {
        "value": row[rule.judged_column],
        "value_se": row[errors[rule.judged_column]] if rule.judged_column in errors else None,
        "reason": row["undefined_reason"],
    }
    return record(ListedSample, {name: values[name] for name in ListedSample.__struct_fields__})


def _value(sample: ListedSample) -> str:
    if sample.value is None:
        return ""
    return f"{sample.value:.3f}" + ("" if sample.value_se is None else f" ± {sample.value_se:.3f}")
