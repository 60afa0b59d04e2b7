"""The numbers of a run as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from rate.runs.failures import Failure
from rate.runs.run_document import Rule
from rate.runs.summary.document import BesideUniform
from rate.runs.summary.numbers import number, number_table
from rate.statistics.intervals import Units
from rate.statistics.means import MEAN_TITLES, SWAP_METRICS, SampleMean
from rate.statistics.metrics import Ratio

if TYPE_CHECKING:
    from rate.runs.summary.summarise import HeadSummary, Metric, Summary

_MASKS = {
    "auto": "masks until the verdict is clear",
    "windows": "every window",
    "none": "no masks, gradients",
    "given": "maps of another tool",
}


def summary_table(summary: Summary) -> RenderableType:
    """Format one block for each head: accuracy, PT, IR with intervals, denominators, baselines; the other rules;
    the counts.
    """
    return Group(*(block for name, head in summary.heads.items() for block in _head(name, head, summary.status)))


def pace(summary: Summary) -> str:
    """Format one line with the speed of the run and the idle time of its device."""
    throughput = summary.throughput
    if throughput.images_per_s is None or throughput.forwards_per_s is None or throughput.waiting_for_data is None:
        return "nothing was evaluated"
    return (
        f"{throughput.images_per_s:.3g} images/s, {throughput.forwards_per_s:.4g} forwards/s, "
        f"waiting for data {100 * throughput.waiting_for_data:.1f} % of the time"
        + ("" if throughput.device_idle is None else f", device idle {100 * throughput.device_idle:.1f} %")
    )


def _head(name: str, head: HeadSummary, status: str) -> Iterable[RenderableType]:
    counts = head.counts
    undefined = ", ".join(f"{count} {reason}" for reason, count in head.undefined_by.items())
    yield Text(
        f"{name}: {head.rows} images, {counts.errors} errors, {counts.undefined} undefined"
        + (f" ({undefined})" if undefined else "")
        + ("" if status == "complete" else f"; the run is {status}"),
        style="bold",
    )
    yield from map(Text, failure_lines(head.failures))
    table = number_table("", "value", "95 % interval", "of", "uniform", "shuffled", "noise")
    table.add_row("accuracy", *_ratio(head.accuracy), "", "", "")
    for title, metric in (("PT", head.pt), ("IR", head.ir)):
        table.add_row(title, *_metric(metric, head.rule))
    table.add_row("accuracy, judged", *_ratio(head.judged_accuracy), "", "", "")
    for title, mean in _means(head):
        table.add_row(title, *mean_cells(mean), "", "", "")
    yield table
    yield from map(Text, _beneath(head))
    yield Text(rule_line(head.rule))
    if head.rule.adaptive and head.forwards_mean is not None:
        yield Text(f"{head.forwards_mean:.0f} forwards an image on average, {counts.capped} verdicts not clear")
    for other in head.also:
        yield Text(
            f"  {other.evidence} evidence, {other.valid} rule: {_other('PT', other.pt)}, {_other('IR', other.ir)}"
        )
    yield Text(f"right on valid evidence {counts.rr}, right on invalid {counts.rw}, {_wrong(head)}")
    yield Text("")


def _beneath(head: HeadSummary) -> Iterable[str]:
    """State what the table's numbers leave open: the units of the intervals, and the undefined predictions."""
    if head.clusters is not None:
        yield f"intervals are {units_of(head)}"
    if (exact := head.pt.without_noise) is not None:
        yield f"PT without {head.rule.drawn} noise {exact.value:.3f} ({exact.low:.3f} - {exact.high:.3f})"
    shuffled = [(title, metric.shuffled_ratio) for title, metric in (("PT", head.pt), ("IR", head.ir))]
    if known := [f"{title} {_in_words(one)}" for title, one in shuffled if one is not None and one.denominator]:
        yield f"shuffled: some images are swapped along the region of another one, too; {', '.join(known)}"
    if head.counts.undefined_right and head.pt.bounds is not None:
        low, high = head.pt.bounds
        yield (
            f"PT is {low:.3f} if all {head.counts.undefined_right} undefined correct predictions were on invalid "
            f"evidence, and {high:.3f} if all were on valid"
        )
    if head.swap is not None and head.swap.kept_alone.value is not None and head.swap.kept_without.value is not None:
        yield (
            "object-only: accuracy with other pictures around the region; background-only: with other pictures in it; "
            "gap: their difference"
        )
        yield (
            f"the prediction stays with {head.swap.kept_alone.value:.3f} of the pictures around the region, and with "
            f"{head.swap.kept_without.value:.3f} of those in it; {head.swap.fills:.1f} pictures an image on average"
        )


def _means(head: HeadSummary) -> Iterable[tuple[str, SampleMean]]:
    return () if head.swap is None else ((MEAN_TITLES[name], getattr(head.swap, name)) for name in SWAP_METRICS)


def mean_cells(mean: SampleMean) -> tuple[str, str, str]:
    """Format value, interval and number of samples."""
    if mean.value is None or mean.interval is None:
        return "undefined", "", "0"
    low, high = mean.interval
    return f"{mean.value:.3f}", f"{low:.3f} - {high:.3f}", str(mean.samples)


def units_of(head: HeadSummary) -> str:
    """Name what the intervals of a head take as independent, and the metrics that have too few clusters for it."""
    ratios = {"accuracy": head.accuracy, "PT": head.pt.ratio, "IR": head.ir.ratio}
    few = {title: Units(ratio.clusters) for title, ratio in ratios.items() if Units(ratio.clusters).too_few}
    whole = Units(head.clusters)
    return str(whole) + "".join(f"; of {title} {units}" for title, units in few.items() if not whole.too_few)


def _wrong(head: HeadSummary) -> str:
    """Count the wrong predictions; what is valid of them is the evidence for the class that was explained."""
    counts = head.counts
    if head.rule.explained == "prediction":
        return f"wrong on valid {counts.wr}, wrong on invalid {counts.ww}"
    return f"wrong with valid evidence for the true label {counts.wr}, with invalid {counts.ww}"


def failure_lines(failures: Iterable[Failure]) -> list[str]:
    """Format the reasons for which samples failed, one line each."""
    return [f"  {one.count} failed, such as {one.example}: {one.message}" for one in failures]


def _metric(metric: Metric, rule: Rule) -> tuple[str, ...]:
    noise = "" if metric.noise is None else f"± {metric.noise:.3f}"
    shuffled = "" if metric.shuffled is None and rule.verdict == "swap" else number(metric.shuffled)
    return (*_ratio(metric.ratio), number(metric.uniform), shuffled, noise)


def _ratio(ratio: Ratio) -> tuple[str, str, str]:
    if ratio.value is None or ratio.interval is None:
        return "undefined", "", f"{ratio.numerator}/0"
    low, high = ratio.interval
    return f"{ratio.value:.3f}", f"{low:.3f} - {high:.3f}", f"{ratio.numerator}/{ratio.denominator}"


def _in_words(ratio: Ratio) -> str:
    value, interval, of = _ratio(ratio)
    return f"{value} ({interval}) of {of}"


def rule_line(rule: Rule) -> str:
    """State what was measured and when evidence counts as valid."""
    images = f"under {rule.corrupt}; " if rule.corrupt else ""
    asked = rule.masks or ""
    masks = f"{asked} masks" if isinstance(asked, int) else _MASKS.get(asked, asked)
    if rule.verdict == "swap":
        fills = "fills until clear" if rule.fills == "auto" else f"{rule.fills} fills"
        return (
            f"{images}swap with {rule.fill}, {fills}; {rule.score} of the {rule.explained}; "
            f"valid from a share of {rule.tau:g}"
        )
    blur = "" if rule.blur is None else f" with blur {rule.blur}"
    return (
        f"{images}{rule.saliency}, {masks}{blur}; {rule.score or 'evidence'} of the {rule.explained}; "
        f"{rule.evidence} evidence, valid from {rule.valid} {rule.tau:g}"
    )


def _other(title: str, share: BesideUniform) -> str:
    return f"{title} {number(share.value)} (uniform {number(share.uniform)}, of {share.denominator})"
