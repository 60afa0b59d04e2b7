"""gate.toml: the requirements of a release, read into frozen records and checked key by key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from rate.errors import ConfigError
from rate.files import read_toml
from rate.statistics.means import SWAP_METRICS

PolicySource: TypeAlias = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""A path to a TOML file, its content as a mapping, or the list of checks alone."""

RATIOS = ("pt", "ir", "accuracy")
"""Shares with their own interval; larger is better."""

MEANS = SWAP_METRICS
"""Means with their own interval, of runs by swaps: accuracies, and their gap, which may be negative."""

COUNTED = ("undefined", "capped", "errors")
"""Samples counted among all samples of the head; fewer is better."""

MEASURED = ("forwards", "images_per_s")
"""Numbers without an interval: mean forwards per sample, and samples per second of the whole run."""

METRICS = RATIOS + MEANS + COUNTED + MEASURED
BOUNDS = ("min", "max", "max_drop", "max_drop_relative")
SLICES = ("class", "group")
SEVERITIES = ("error", "warn")
USES = ("interval", "ci_low", "ci_high", "value")
OVER = ("each", "worst", "mean")
MULTIPLICITY = ("none", "holm")

_SHARES = (*RATIOS, *MEANS)
_DROPPING = (*_SHARES, "images_per_s")
_END = {"min": "ci_low", "max": "ci_high", "max_drop": "ci_low", "max_drop_relative": "ci_low"}
"""The end of the interval by which a bound is passed: the one nearer to a violation."""

_LARGEST = 1e15  # largest bound; whole numbers are exact up to it


@dataclass(frozen=True, slots=True)
class Check:
    """One [[check]]: a metric and the one bound it must keep."""

    metric: str
    bound: str  # one of `BOUNDS`
    threshold: float
    use: str  # interval: all of it must keep the bound | value: the point estimate decides
    min_samples: int  # least denominator of the metric
    slice: str | None  # class | group | None: the whole head
    severity: str  # error | warn
    over: str  # of the runs of a grid: each | worst | mean
    multiplicity: str  # of a violation among slices: none | holm
    name: str

    @property
    def is_drop(self) -> bool:
        """Whether a baseline is needed."""
        return self.bound in ("max_drop", "max_drop_relative")

    @property
    def is_count(self) -> bool:
        """Whether the threshold is a number of samples instead of a share; 0 is both."""
        return self.metric in COUNTED and self.threshold >= 1

    @property
    def blocks(self) -> bool:
        """Whether it can stop a release; a check of severity warn cannot."""
        return self.severity == "error"


_ACROSS = "across_corruptions"


@dataclass(frozen=True, slots=True)
class Policy:
    """All checks of a gate."""

    checks: tuple[Check, ...]
    source: str  # the file, for display
    across_corruptions: bool = False  # whether the baseline may have images under another corruption

    @property
    def digest(self) -> str:
        """The sha256 of the checks, independent of the file, order of keys and comments."""
        checks: list[object] = [asdict(check) for check in self.checks]
        content = json.dumps([*checks, *([_ACROSS] if self.across_corruptions else [])], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def read_policy(source: PolicySource) -> Policy:
    """Read and check a policy.

    Raises:
        ConfigError: it cannot be read, is empty, or a check is impossible; the message names the number of the check
            (from 1) and the key.
    """
    if isinstance(source, str | Path):
        return _policy(read_toml(Path(source), "policy"), str(source))
    return _policy(source if isinstance(source, Mapping) else {"check": list(source)}, "policy")


def _policy(content: Mapping[str, Any], source: str) -> Policy:
    if unknown := sorted(map(str, set(content) - {"check", _ACROSS})):
        raise ConfigError(
            f"{source}: unknown key {unknown[0]!r}; a policy is a list of [[check]] tables, and {_ACROSS} before them"
        )
    if not isinstance(across := content.get(_ACROSS, False), bool):
        raise ConfigError(f"{source}: {_ACROSS} must be true or false, got {across!r}")
    tables = content.get("check", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigError(f"{source}: check must be a list of tables, each begun by [[check]]")
    if not tables:
        raise ConfigError(f"{source} has no checks, so it could not stop anything; add a [[check]]")
    checks = tuple(_Reader(source, number, table).check() for number, table in enumerate(tables, 1))
    _refuse_same_names(checks, source)
    return Policy(checks, source, across)


def _refuse_same_names(checks: tuple[Check, ...], source: str) -> None:
    seen: dict[str, int] = {}
    for number, check in enumerate(checks, 1):
        if (first := seen.setdefault(check.name, number)) != number:
            raise ConfigError(
                f"{source}: checks {first} and {number} have the same name {check.name!r}; drop one, or give them names"
            )


class _Reader:
    """One [[check]] table; every message names the file, the number of the check and the key."""

    def __init__(self, source: str, number: int, table: Mapping[str, Any]) -> None:
        self._where, self._table = f"{source}: check {number}", table

    def check(self) -> Check:
        """Make the check of the table.

        Raises:
            ConfigError: a key is unknown or missing, or its value is not allowed.
        """
        known = ("metric", *BOUNDS, *(f.name for f in fields(Check) if f.name not in ("metric", "bound", "threshold")))
        if unknown := [str(key) for key in self._table if key not in known]:
            raise self._refused(
                unknown[0], f"is not a key of a check; there are {', '.join(known)}{_meant(unknown[0], known)}"
            )
        if "metric" not in self._table:
            raise self._refused("metric", f"is missing; it is one of {', '.join(METRICS)}")
        metric = self._choice("metric", METRICS, METRICS[0])
        bound = self._bound()
        threshold = self._threshold(metric, bound)
        use = self._use(metric, bound, threshold)
        slice = self._choice("slice", SLICES, None) if "slice" in self._table else None
        if slice and metric == "images_per_s":
            raise self._refused("slice", "does not apply to images_per_s, which is measured for the run as a whole")
        over = self._choice("over", OVER, "each")
        if slice and over == "mean":
            raise self._refused("over", "= 'mean' does not go with slice; use 'each' or 'worst'")
        multiplicity = self._choice("multiplicity", MULTIPLICITY, "none")
        if multiplicity == "holm" and not (
            slice and use == "interval" and bound in ("min", "max") and metric in RATIOS
        ):
            raise self._refused(
                "multiplicity", f"= 'holm' is for slices of {', '.join(RATIOS)}, with min or max and the interval"
            )
        return Check(
            metric=metric,
            bound=bound,
            threshold=threshold,
            use=use,
            min_samples=self._min_samples(),
            slice=slice,
            severity=self._choice("severity", SEVERITIES, "error"),
            over=over,
            multiplicity=multiplicity,
            name=self._name(
                f"{metric} {bound} {threshold:g}"
                + (f" by {slice}" if slice else "")
                + ("" if over == "each" else f", {over} run")
            ),
        )

    def _refused(self, key: str, why: str) -> ConfigError:
        return ConfigError(f"{self._where}: {key} {why}")

    def _choice(self, key: str, choices: tuple[str, ...], default: str | None) -> str:
        value = self._table.get(key, default)
        if not isinstance(value, str) or value not in choices:
            raise self._refused(key, f"must be one of {', '.join(choices)}; got {value!r}{_meant(value, choices)}")
        return value

    def _bound(self) -> str:
        given = [bound for bound in BOUNDS if bound in self._table]
        if len(given) != 1:
            got = f"got {' and '.join(given)}" if given else "got none"
            raise self._refused("bound", f"must be exactly one of {', '.join(BOUNDS)}; {got}")
        return given[0]

    def _threshold(self, metric: str, bound: str) -> float:
        value = self._table[bound]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
            raise self._refused(bound, f"must be a number from 0 on, got {value!r}")
        lowest, largest_drop = (-1, 2) if metric == "gap" else (0, 1)
        unbroken = {"min": lowest, "max": 1, "max_drop": largest_drop}
        if value == unbroken.get(bound) and (bound == "min" or metric in _SHARES):
            raise self._refused(bound, f"= {value!r} cannot be broken by {metric}, so it could not stop anything")
        if metric in COUNTED and bound != "max":
            raise self._refused(bound, f"does not apply to {metric}, of which fewer are better; use max")
        if bound in ("max_drop", "max_drop_relative") and metric not in _DROPPING:
            raise self._refused(bound, f"does not apply to {metric}; it does to {', '.join(_DROPPING)}. Use max")
        if metric in _SHARES and value > 1:
            raise self._refused(bound, f"must be a share from 0 to 1 for {metric}, got {value!r}; 80 % is 0.8")
        if bound == "max_drop_relative" and value >= 1:
            raise self._refused(bound, f"must be a share below 1 of the baseline's value, got {value!r}; 10 % is 0.1")
        if metric in COUNTED and value >= 1 and value != int(value):
            raise self._refused(bound, f"must be a share below 1 or a whole number of samples, got {value!r}")
        return float(value)

    def _use(self, metric: str, bound: str, threshold: float) -> str:
        """Return ``interval`` or ``value``; a named end of the interval must be the one that decides the bound."""
        use = self._choice("use", USES, "interval" if metric in _SHARES else "value")
        if use == "value":
            return use
        if use not in ("interval", _END[bound]):
            raise self._refused("use", f"= {use!r} is the lenient end for {bound}; use {_END[bound]!r}, or 'value'")
        if metric in MEASURED:
            raise self._refused("use", f"must be 'value' for {metric}, which has no interval; got {use!r}")
        if metric in COUNTED and threshold >= 1:
            raise self._refused(
                "use", f"must be 'value' for a number of samples ({bound} = {threshold:g}); got {use!r}"
            )
        if (bound, threshold) in (("min", 1.0), *([] if metric == "gap" else [("max", 0.0)])):
            raise self._refused(bound, f'= {threshold:g} cannot be kept by a whole interval; add use = "value"')
        return "interval"

    def _min_samples(self) -> int:
        value = self._table.get("min_samples", 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._refused("min_samples", f"must be a whole number from 1 on, got {value!r}")
        return value

    def _name(self, default: str) -> str:
        value = self._table.get("name", default)
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise self._refused("name", f"must be one line of text, got {value!r}")
        return value


def _meant(value: object, choices: Sequence[str]) -> str:
    """Ask for the nearest of the choices, if one is near."""
    alike = get_close_matches(str(value), choices, 1)
    return f"; did you mean {alike[0]}?" if alike else ""
