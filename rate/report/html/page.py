"""The page of a report: heads side by side, the first compared with each other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rate.errors import UsageError
from rate.outputs import write_output
from rate.report.gate.decide import Decision, decide
from rate.report.gate.policy import Policy
from rate.report.gate.table import result_lines
from rate.report.heads import HeadRun, incompatibilities, load_heads, split_reference
from rate.report.html.charts import FRAME, Histogram, Sweep, histograms, is_adaptive, sweep_of
from rate.report.html.comparison import PairView, comparison_of
from rate.report.html.confusions import confusions
from rate.report.html.embedded import report_data
from rate.report.html.grid import write_grid_report
from rate.report.html.record import failures, record, runs_of
from rate.report.html.render import Report, check_output, rendered
from rate.report.html.samples.gallery import Gallery, gallery_of
from rate.report.html.samples.pictures import Pictures
from rate.report.html.samples.selection import BY_SHARE, GROUPS
from rate.report.html.sentences import REASONS, answer, explained_note, rule_in_words
from rate.report.html.shift import Shift, shift_of
from rate.report.tables.faithfulness import Row, rows_of
from rate.report.tables.rows import write_rows
from rate.runs.summary.faithfulness import read_faithfulness
from rate.runs.summary.summarise import HeadSummary
from rate.studies.corruption_grid import is_grid

MAX_SAMPLES = 200
"""The default number of samples."""


@dataclass(frozen=True, slots=True)
class HeadView:
    """One head as the templates use it."""

    position: int
    name: str
    status: str
    summary: HeadSummary
    answer: list[str]
    note: str  # statement about the explained class
    rule: str
    histogram: Histogram | None
    sweep: Sweep | None
    adaptive: bool
    faithful: list[Row]  # rows of faithfulness.json, if it was measured
    shift: Shift | None  # metrics over the severity of corruptions, if the run is part of a grid


def write_named(references: Sequence[str], out: Path, **options: Any) -> Report:
    """Write the report of RUN[@HEAD]..., or of one folder of runs over corruptions; ``options`` as of `write_report`.

    Raises:
        UsageError: a folder of runs is named beside another one, ``out`` exists, or a run has no such head.
        RunError: a run is missing or damaged.
    """
    if grids := [name for name in dict.fromkeys(references) if is_grid(split_reference(name)[0])]:
        if len(set(references)) > 1:
            raise UsageError(
                f"{grids[0]} is a folder of runs, and a page is of one such folder; name single runs of it"
            )
        return write_grid_report(grids[0], out, **options)
    heads = {(head.folder.resolve(), head.head): head for name in references for head in load_heads(name)}
    return write_report(list(heads.values()), out, **options)


def write_report(
    heads: Sequence[HeadRun],
    out: Path,
    *,
    data: Path | str | None = None,
    roots: Sequence[str] = (),
    max_samples: int = MAX_SAMPLES,
    policy: Policy | None = None,
    rows: bool = False,
    force: bool = False,
) -> Report:
    """Write the report of ``heads``, side by side, to one file that loads no other resource.

    The first head is compared with each other one, sample by sample.

    Args:
        heads: heads from `rate.report.heads.load_heads`; for incomparable ones the page states the reason.
        out: the .html file, written all or nothing.
        data: the source of the pictures, if the evaluated set has moved.
        roots: the folders in which its files may lie, if these have moved.
        max_samples: the number of samples over all heads.
        policy: checks whose decision stands on top: on every head but the first, which is the baseline, or on the only
            one.
        rows: whether the rows of all heads are written beside ``out``, as CSV, for the page to link to.
        force: whether to replace an existing ``out``.

    Raises:
        ConfigError: ``max_samples`` is negative, or ``out`` does not end in .html.
        UsageError: ``out`` exists, or no head is given.
        RunError: the saved maps of a run cannot be read.
    """
    table = out.with_suffix(".csv") if rows else None
    if not heads:
        raise UsageError("a report needs at least one RUN[@HEAD]")
    check_output(out, table, max_samples, force)
    pictures = Pictures(None if data is None else str(data), tuple(roots))
    names = titles(heads)
    differing = [text for other in heads[1:] for text in incompatibilities(heads[0], other, across=True)]
    compared = ([], None) if differing else comparison_of(heads, names)
    gallery = gallery_of(heads, pictures, max_samples, compared=bool(compared[0]))
    decisions = [] if policy is None else decisions_on(heads, policy)
    page = _render(heads, names, gallery, differing, compared, decisions, table)
    if table is not None:
        write_output(table, lambda file: write_rows(heads, names, file))
    write_output(out, lambda file: file.write(page))
    shown = [card.picture is not None for card in gallery.all_cards]
    return Report(out, len(page), tuple(names), len(shown), sum(shown), pictures.notices(), table)


def decisions_on(heads: Sequence[HeadRun], policy: Policy) -> list[Decision]:
    """Decide on every head but the first, which is the baseline, or on the only one.

    Raises:
        RunError: a run is not complete, or two of them measured different things.
        UsageError: a check is a drop and there is one head.
    """
    if len(heads) == 1:
        return [decide(policy, heads[0], None)]
    return [decide(policy, head, heads[0]) for head in heads[1:]]


def _render(
    heads: Sequence[HeadRun],
    names: Sequence[str],
    gallery: Gallery,
    differing: Sequence[str],
    compared: tuple[Sequence[PairView], str | None],
    decisions: Sequence[Decision],
    table: Path | None,
) -> bytes:
    views = _views(heads, names)
    runs = runs_of(heads)
    return rendered(
        "report.html.j2",
        report_data(heads, names),
        heads=views,
        runs=runs,
        record=record(runs),
        failures=failures(heads),
        unfinished=[run for run in runs if run.status != "complete"],
        differing=differing,
        pairs=compared[0],
        apart=compared[1],
        decisions=[(one, result_lines(one)) for one in decisions],
        table=None if table is None else quote(table.name),
        confusions=confusions(heads),
        gallery=gallery,
        first_shown=None,
        quadrants=GROUPS,
        by_share=BY_SHARE,
        quantity=" or ".join(dict.fromkeys(view.summary.rule.quantity for view in views)),
        reasons=REASONS,
        by_swap=any(view.summary.swap for view in views),
        by_map=any(view.summary.swap is None for view in views),
        notes=list(dict.fromkeys(view.note for view in views)),
        frame=FRAME,
    )


def titles(heads: Sequence[HeadRun]) -> list[str]:
    """Make short unique titles: the head alone for one run, else RUN@HEAD, else with the whole path."""
    forms = (
        [head.head for head in heads],
        [head.name for head in heads],
        [f"{head.folder}@{head.head}" for head in heads],
    )
    one_run = len({head.folder for head in heads}) == 1
    return next((form for form in forms[0 if one_run else 1 :] if len(set(form)) == len(form)), forms[-1])


def _views(heads: Sequence[HeadRun], names: Sequence[str]) -> list[HeadView]:
    drawn = histograms(heads)
    return [
        HeadView(
            position=position,
            name=names[position],
            status=head.status,
            summary=head.summary,
            answer=answer(head.summary, len(head.run.bank.pictures)),
            note=explained_note(head.summary.rule),
            rule=rule_in_words(head.summary.rule),
            histogram=drawn[position],
            sweep=sweep_of(head),
            adaptive=is_adaptive(head),
            faithful=_faithful(head),
            shift=shift_of(head),
        )
        for position, head in enumerate(heads)
    ]


def _faithful(head: HeadRun) -> list[Row]:
    measured = read_faithfulness(head.folder)
    return [] if measured is None or head.head not in measured.heads else rows_of(measured.heads[head.head])
