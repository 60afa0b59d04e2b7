"""The meaning of a head's numbers, in sentences that depend on the numbers alone."""

from __future__ import annotations

from rate.methods import GIVEN, METHODS
from rate.runs.run_document import Rule
from rate.runs.summary.summarise import HeadSummary, Metric
from rate.statistics.means import SampleMean, SwapMeans

REASONS = {
    "empty-region": "the region is empty in model pixels",
    "full-region": "the region fills the whole image",
    "full-when-grown": "the region fills the whole image once it is grown",
    "zero-evidence": "the map has no evidence anywhere",
    "unresolvable": "the perturbation cannot tell inside from outside, as with very small regions",
    "no-evidence": "the evidence is not above its own noise",
    "nan-map": "the map is constant or has no numbers, so that it cannot be scaled to [0, 1]",
    "constant-map": "the map is the same everywhere",
}


def answer(summary: HeadSummary, bank: int = 0) -> list[str]:
    """State accuracy, PT and IR of one head, each with its baseline, and what swaps leave of the predictions.

    Args:
        summary: the numbers of the head.
        bank: the number of other pictures that run.json lists.
    """
    right, errors = summary.accuracy, summary.counts.errors
    first = f"{right.numerator:,} of {right.denominator:,} images are predicted right."
    if errors:
        first += (
            f" {errors:,} more could not be predicted and count in none of these numbers; why is said in the record."
        )
    swapped = [] if summary.swap is None else _swapped(summary.swap, bank)
    return [first, _trust(summary), _reliability(summary), *swapped]


def rule_in_words(rule: Rule) -> str:
    """State what was measured and when evidence counts as valid."""
    images = f"; every image under {rule.corrupt}" if rule.corrupt is not None else ""
    tau = f"{rule.tau:g}"
    if rule.verdict == "swap":
        fills = "until the verdict is clear" if rule.fills == "auto" else f"{rule.fills:,} times an image"
        score = "centred logit" if rule.score == "centred" else rule.score
        fill = "other images of the set" if rule.fill == "pictures" else f"the images in {rule.fill}"
        return (
            f"The region and the rest swapped with {fill} ({fills}), by the {score} of the {_explained(rule)}; "
            f"valid from a share of the region of at least {tau}{images}"
        )
    method = GIVEN if rule.saliency == GIVEN.name else METHODS.get(rule.saliency or "")
    masks = f"{rule.masks} masks" if method is None else method.masks_in_words
    if isinstance(rule.masks, int):
        masks = f"{rule.masks:,} masks an image"
    blur = "" if rule.blur is None else f", with blur {rule.blur}"
    condition = (
        f"localization of at least {tau}"
        if rule.valid == "midpoint"
        else f"relevance mass inside the region of at least {tau}"
    )
    return (
        f"{rule.saliency if method is None else method.title} "
        f"({masks}{blur}) {_on(rule)}the {_explained(rule)}; {rule.evidence} evidence; valid from a "
        f"{condition}{images}"
    )


def explained_note(rule: Rule) -> str:
    """State the explained class, and the consequence for IR."""
    they = "The maps explain" if rule.verdict == "map" else "Swaps are judged by"
    if rule.explained == "prediction":
        return (
            f"{they} the predicted class. A wrong prediction on valid evidence rests on the object and still "
            "names another class."
        )
    return (
        f"{they} the labelled class, as in the paper. A wrong prediction on valid evidence therefore means: "
        "the evidence for the true label lies on the object while another class was predicted. IR is no statement "
        "about the evidence for that other class."
    )


def _swapped(swap: SwapMeans, bank: int) -> list[str]:
    """State what the predictions rest on, as far as swaps show it."""
    kept, without, gap = swap.object_only, swap.background_only, swap.gap
    if kept.value is None or without.value is None or gap.value is None or swap.fills is None:
        return ["No image has a region that could be swapped."]
    listed = f", of the {bank:,} that run.json lists" if bank else ""
    return [
        f"With its region on other pictures an image is predicted right {kept.value:.3f} of the time (object-only "
        f"accuracy), with other pictures in its region {without.value:.3f} of the time (background-only accuracy); the "
        f"gap is {gap.value:.3f}{_beside_zero(gap)}",
        f"An image met {swap.fills:.1f} other pictures on average{listed}.",
    ]


def _beside_zero(gap: SampleMean) -> str:
    low, high = gap.interval or (-1.0, 1.0)
    if low > 0.0:
        return ", and its interval lies above 0."
    return ", and its interval lies below 0." if high < 0.0 else ", and its interval includes 0."


def _trust(summary: HeadSummary) -> str:
    metric, ratio = summary.pt, summary.pt.ratio
    if ratio.value is None:
        return "PT is undefined: no correct prediction has a verdict."
    return (
        f"Of the {ratio.denominator:,} right predictions with a verdict, {ratio.numerator:,} rest on valid evidence; "
        f"PT {ratio.value:.3f}{_clear(metric)}{_bounds(summary)}"
    )


def _bounds(summary: HeadSummary) -> str:
    """State PT over the undefined predictions, if there are some."""
    if not summary.counts.undefined_right or summary.pt.bounds is None:
        return ""
    low, high = summary.pt.bounds
    return (
        f" With the {summary.counts.undefined_right:,} right predictions without a verdict it would lie between "
        f"{low:.3f}, all on invalid evidence, and {high:.3f}, all on valid."
    )


def _reliability(summary: HeadSummary) -> str:
    metric, ratio, judged = summary.ir, summary.ir.ratio, summary.judged_accuracy
    if ratio.value is None or judged.value is None:
        return "IR is undefined: no prediction rests on valid evidence."
    return (
        f"Of the {ratio.denominator:,} predictions with valid evidence for the {_explained(summary.rule)}, "
        f"{ratio.numerator:,} are right; IR {ratio.value:.3f}{_clear(metric)} Of all "
        f"predictions with a verdict {judged.value:.3f} are right."
    )


def _clear(metric: Metric) -> str:
    """State the position of the interval relative to uniform and shuffled maps."""
    low, high = metric.ratio.interval or (0.0, 1.0)
    known = _baselines(metric)
    if not known:
        return ", without a baseline to hold it against."
    above = [name for name, (_, most) in known.items() if low > most]
    below = [name for name, (least, _) in known.items() if high < least]
    within = [name for name in known if name not in above + below]
    includes = [name for name in within if known[name][0] == known[name][1]]
    overlaps = [name for name in within if name not in includes]
    placed = {"lies above": above, "includes": includes, "overlaps that of": overlaps, "lies below": below}
    parts = [f"{verb} {' and '.join(names)}" for verb, names in placed.items() if names]
    return f", its interval {' and '.join(parts)}."


def _baselines(metric: Metric) -> dict[str, tuple[float, float]]:
    """Return the ends of the interval of each baseline; of one that is known exactly, its value twice."""
    known = {name: (v, v) for name, v in (("uniform", metric.uniform), ("shuffled", metric.shuffled)) if v is not None}
    if metric.shuffled_ratio is not None and metric.shuffled_ratio.interval is not None:
        known["shuffled"] = metric.shuffled_ratio.interval
    return known


def _on(rule: Rule) -> str:
    return "of " if rule.score is None else f"on the {rule.score} of "


def _explained(rule: Rule) -> str:
    return "labelled class" if rule.explained == "label" else "predicted class"
