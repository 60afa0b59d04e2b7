"""The numbers and the settings of a head as flat names and values, as trackers of experiments take them."""

from __future__ import annotations

from rate.errors import RunError
from rate.records import plain
from rate.report.heads import HeadRun
from rate.runs.summary.summarise import HeadSummary, Metric
from rate.statistics.means import SWAP_METRICS, SampleMean
from rate.statistics.metrics import METRICS, Ratio


def require_complete(head: HeadRun) -> None:
    """Refuse a head whose numbers are not final.

    Raises:
        RunError: the run is not complete.
    """
    if head.status != "complete":
        raise RunError(
            f"{head.name} is {head.status}, so its numbers may change; the same `rate eval` finishes the run; "
            "one with --limit is evaluated anew without it"
        )


def shares_of(summary: HeadSummary) -> dict[str, Ratio | SampleMean]:
    """Return the shares of a head by name: `METRICS`, and `SWAP_METRICS` of a run by swaps."""
    shares: dict[str, Ratio | SampleMean] = {}
    for name in METRICS:
        value = getattr(summary, name)
        shares[name] = value.ratio if isinstance(value, Metric) else value
    if summary.swap is not None:
        shares |= {name: getattr(summary.swap, name) for name in SWAP_METRICS}
    return shares


def beside(summary: HeadSummary, name: str) -> dict[str, float]:
    """Return what a share is read beside: the ends of its interval, its denominator and, of PT and IR, both references.

    What is undefined is left out.
    """
    share, metric = shares_of(summary)[name], getattr(summary, name, None)
    low, high = share.interval or (None, None)
    of = share.samples if isinstance(share, SampleMean) else share.denominator
    values: dict[str, float | None] = {"low": low, "high": high, "of": of}
    if isinstance(metric, Metric):
        values |= {"uniform": metric.uniform, "shuffled": metric.shuffled}
    return {key: value for key, value in values.items() if value is not None}


def metrics_of(head: HeadRun) -> dict[str, float]:
    """Return all numbers of a head: `pt`, `pt_low`, `pt_high`, `pt_of`, `pt_uniform`, `pt_shuffled`, and so on.

    What is undefined is left out.
    """
    summary, numbers = head.summary, dict[str, float]()
    for name, share in shares_of(summary).items():
        if share.value is not None:
            numbers[name] = share.value
        numbers |= {f"{name}_{key}": value for key, value in beside(summary, name).items()}
    counts = summary.counts
    numbers |= {
        "samples": summary.rows,
        "errors": counts.errors,
        "undefined": counts.undefined,
        "capped": counts.capped,
    }
    return numbers


def rule_of(head: HeadRun) -> dict[str, str | int | float]:
    """Return what was measured, and when evidence counts as valid."""
    return {name: value for name, value in plain(head.summary.rule).items() if value is not None}


def settings_of(head: HeadRun) -> dict[str, str]:
    """Return what a head's numbers are of: the rule, the digests, and the places as they were named."""
    run, identity = head.run, head.run.identity
    values: dict[str, object] = {f"rule.{name}": value for name, value in rule_of(head).items()}
    values |= {"head": head.head, "artifact": run.origin.artifact, "data": run.origin.data, "split": run.origin.split}
    values |= {"key": run.key, "weights": identity.weights, "data_digest": identity.data, "bank": identity.bank}
    values |= {"backend": identity.backend, "precision": identity.precision, "rate": run.versions["rate"]}
    values |= {"plugin": run.measurement.get("plugin")}
    return {name: str(value) for name, value in values.items() if value not in (None, "")}
