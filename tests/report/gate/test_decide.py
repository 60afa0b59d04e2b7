"""The decision of a gate: what passes, what fails, what cannot be told, and that nothing else is ever a pass."""

from __future__ import annotations

import html
import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import jsonschema
import pyarrow.compute as pc
import pytest
from gate_runs import decided, head_of, head_run, states
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from run_rows import FORWARDS, IDENTITY

from rate.config import Measurement
from rate.errors import RunError, UsageError
from rate.records import plain, schema_of, written
from rate.report.compare.compare import pair
from rate.report.gate.checked_values import CheckedValue, number
from rate.report.gate.decide import Decision, decide
from rate.report.gate.document import GateDocument
from rate.report.gate.junit import junit
from rate.report.gate.markdown import markdown
from rate.report.gate.policy import read_policy
from rate.report.gate.result import Result, judge
from rate.report.heads import HeadRun
from rate.runs.rows import SCHEMA
from rate.runs.run_document import SampleCounts
from rate.statistics.intervals import score_interval

MIXED = states(rr=60, rw=20, wr=10, ww=5, capped=5, undefined_right=3, undefined_wrong=2, error=5)
"""n 110: accuracy 88/105, PT 65/85, IR 65/75, undefined 5, capped 5, errors 5."""


def one(checks: dict, *heads, **options) -> Result:
    [result] = decided(checks, *heads, **options).results
    return result


@pytest.mark.parametrize(
    ("metric", "numerator", "denominator"),
    [
        ("accuracy", 88, 105),
        ("pt", 65, 85),
        ("ir", 65, 75),
        ("undefined", 5, 110),
        ("capped", 5, 110),
        ("errors", 5, 110),
    ],
)
def test_every_share_is_the_hand_count_with_its_wilson_interval(metric: str, numerator: int, denominator: int) -> None:
    reading = one({"metric": metric, "max": 0.5}, head_run(MIXED)).reading
    assert (reading.numerator, reading.denominator, reading.n) == (numerator, denominator, 110)
    assert reading.value == numerator / denominator
    assert (reading.low, reading.high) == score_interval(numerator / denominator, denominator)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 0.99), st.sampled_from(["min", "max"]))
@settings(max_examples=60)
def test_an_interval_passes_fails_or_straddles(right: int, wrong: int, threshold: float, bound: str) -> None:
    result = one({"metric": "pt", bound: threshold}, head_run(states(rr=right, rw=wrong)))
    if right + wrong == 0:
        assert result.state == "inconclusive"
        return
    low, high = score_interval(right / (right + wrong), right + wrong)
    above, below = (low >= threshold, high < threshold) if bound == "min" else (high <= threshold, low > threshold)
    assert result.state == ("pass" if above else "fail" if below else "inconclusive")


@given(st.integers(1, 80), st.integers(1, 80), st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_the_named_number_of_samples_is_what_it_takes(right: int, wrong: int, threshold: float) -> None:
    """At the same share, the interval leaves the threshold out from that denominator on and not before."""
    result = one({"metric": "pt", "min": threshold}, head_run(states(rr=right, rw=wrong)))
    if result.state != "inconclusive" or result.needed is None:
        return
    assert result.needed > right + wrong
    times = result.needed / (right + wrong)
    for factor, decides in ((math.ceil(times), True), (math.ceil(times) - 1, False)):
        low, high = score_interval(right / (right + wrong), (right + wrong) * factor)
        assert (low >= threshold or high < threshold) == decides, (factor, times)


@pytest.mark.parametrize("state", ["inconclusive", "fail"])
def test_a_stricter_bound_never_does_better(state: str) -> None:
    order = ("pass", "inconclusive", "fail")
    found = [one({"metric": "pt", "min": t / 50}, head_run(MIXED)).state for t in range(1, 50)]
    assert found == sorted(found, key=order.index)
    assert state in found


@pytest.mark.parametrize(
    ("found", "state"), [(states(rr=4, rw=1), "pass"), (states(rr=3, rw=1), "fail"), (states(ww=3), "inconclusive")]
)
def test_the_value_alone_decides_where_it_is_asked_to(found: list[str], state: str) -> None:
    assert one({"metric": "pt", "min": 0.8, "use": "value"}, head_run(found)).state == state


def test_too_few_samples_are_never_decided_on() -> None:
    """Of the metric's own denominator: 85 correct predictions in 110 samples."""
    for use, limit in itertools.product(("value", "interval"), (0.1, 0.99)):
        check = {"metric": "pt", "min": limit, "use": use}
        assert one(check | {"min_samples": 85}, head_run(MIXED)).state != "inconclusive"
        result = one(check | {"min_samples": 86}, head_run(MIXED))
        assert (result.state, result.needed) == ("inconclusive", 86)
        assert "85 correct predictions, min_samples is 86" in result.message


@pytest.mark.parametrize(
    ("bound", "errors", "state"),
    [
        (0, 0, "pass"),
        (0, 1, "fail"),
        (1, 1, "pass"),
        (1, 2, "fail"),
        (3, 3, "pass"),
        (0.1, 2, "pass"),
        (0.1, 3, "fail"),
    ],
)
def test_below_one_is_a_share_and_from_one_on_a_number(bound: float, errors: int, state: str) -> None:
    found = states(rr=20 - errors, error=errors)
    assert one({"metric": "errors", "max": bound}, head_run(found)).state == state


@pytest.mark.parametrize(
    ("value", "text"), [(0.79996, "0.8"), (0.0125, "0.0125"), (12345.0, "12345"), (-0.05, "-0.05")]
)
def test_numbers_are_shown_without_exponents(value: float, text: str) -> None:
    assert number(value) == text


def test_a_share_of_samples_can_be_held_with_its_interval() -> None:
    check = {"metric": "errors", "max": 0.05, "use": "ci_high"}
    assert one(check, head_run(states(rr=50))).state == "inconclusive"
    assert one(check, head_run(states(rr=200))).state == "pass"


def test_forwards_and_throughput_are_values() -> None:
    head = head_run(MIXED, images_per_s=4.0)
    assert one({"metric": "forwards", "max": FORWARDS}, head).state == "pass"
    assert one({"metric": "forwards", "max": FORWARDS - 0.1}, head).state == "fail"
    assert one({"metric": "images_per_s", "min": 4}, head).state == "pass"
    assert one({"metric": "images_per_s", "min": 4.1}, head).state == "fail"
    slower = head_run(MIXED, images_per_s=3.0, name="slower")
    assert one({"metric": "images_per_s", "max_drop_relative": 0.25}, slower, head).state == "pass"
    assert one({"metric": "images_per_s", "max_drop_relative": 0.24}, slower, head).state == "fail"
    assert one({"metric": "images_per_s", "max_drop": 1}, slower, head).state == "pass"


def test_what_was_not_measured_is_an_error_and_no_pass() -> None:
    decision = decided({"metric": "images_per_s", "min": 1}, head_run(MIXED, images_per_s=None))
    assert [r.state for r in decision.results] == ["error"]
    assert "recorded no time" in decision.results[0].message
    assert (decision.verdict, decision.exit_code) == ("inconclusive", 3)


AFTER = states(rr=600, rw=200, wr=100, ww=100)
BEFORE = states(rr=693, rw=147, wr=80, ww=80)


@pytest.mark.parametrize("metric", ["pt", "ir", "accuracy"])
@pytest.mark.parametrize("clusters", [None, [f"c{k * k % 97}" for k in range(1000)]], ids=["samples", "clusters"])
def test_a_drop_is_the_paired_difference(metric: str, clusters: list[str] | None) -> None:
    after, before = head_run(AFTER, clusters=clusters, name="after"), head_run(BEFORE, clusters=clusters, name="before")
    found = pair(before, after).differences[metric]
    reading = one({"metric": metric, "max_drop": 0.1}, after, before).reading
    assert (reading.value, reading.low, reading.high) == (found.value, found.low, found.high)
    assert (reading.candidate, reading.baseline) == (found.second.value, found.first.value)
    low, high = -found.low, -found.high
    for margin, state in ((low + 1e-6, "pass"), ((low + high) / 2, "inconclusive"), (high - 1e-6, "fail")):
        if margin >= 0:
            assert one({"metric": metric, "max_drop": margin}, after, before).state == state


def test_a_relative_drop_is_one_of_the_baselines_value() -> None:
    after, before = head_run(AFTER, name="after"), head_run(BEFORE, name="before")  # PT 0.75 after 0.825
    by_value = {"metric": "pt", "use": "value"}
    result = one(by_value | {"max_drop_relative": 0.1}, after, before)
    assert result.limit == pytest.approx(-0.0825)
    assert result.state == "pass"
    assert one(by_value | {"max_drop_relative": 0.09}, after, before).state == "fail"
    for relative in (0.05, 0.1, 0.2):
        absolute = {"metric": "pt", "max_drop": relative * 0.825}
        assert one({"metric": "pt", "max_drop_relative": relative}, after, before).state == (
            one(absolute, after, before).state
        )


@pytest.mark.parametrize("kept", range(5, 101, 5))
def test_a_drop_of_exactly_what_is_allowed_is_allowed(kept: int) -> None:
    after = head_run(states(rr=kept, rw=100 - kept), name="after")
    before = head_run(states(rr=100), name="before")
    allowed = (100 - kept) / 100
    assert one({"metric": "pt", "max_drop": allowed, "use": "value"}, after, before).state == "pass"
    if allowed:
        assert one({"metric": "pt", "max_drop": allowed - 0.001, "use": "value"}, after, before).state == "fail"


def test_a_drop_needs_samples_on_both_sides() -> None:
    few, many = head_run(states(rr=20, wr=80), name="few"), head_run(states(rr=90, wr=10), name="many")
    check = {"metric": "pt", "max_drop": 0.5, "use": "value", "min_samples": 21}
    for heads in ((few, many), (many, few)):
        assert one(check, *heads).state == "inconclusive"
        assert one(check | {"min_samples": 20}, *heads).state == "pass"
    none = head_run(states(ww=100), name="none")
    for heads in ((none, many), (many, none)):
        result = one(check | {"min_samples": 1}, *heads)
        assert result.state == "inconclusive"
        assert "undefined, there are no correct predictions" in result.message


def test_a_head_against_itself_is_said_to_prove_nothing() -> None:
    decision = decided({"metric": "pt", "max_drop": 0.01}, head_run(MIXED), head_run(MIXED))
    assert any("compared with itself" in text for text in decision.notices)
    decision = decided({"metric": "pt", "max_drop": 0.01}, head_run(MIXED, name="a"), head_run(MIXED, name="b"))
    assert any("same weights" in text for text in decision.notices)


def only(head: HeadRun, column: str, value: str) -> HeadRun:
    """The run of the samples with a value in a column, as if there were no others."""
    rows = head.rows(SCHEMA.names).filter(pc.field(column) == value)
    return head_of(rows, structs.replace(head.run, samples=SampleCounts(len(rows), len(rows))), head.whole)


LABELS = ["cat", "dog", "eel"] * 36 + ["cat", "dog"]


def test_a_slice_by_class_is_the_gate_of_that_class_alone() -> None:
    candidate = head_run(MIXED, labels=LABELS)
    check = {"metric": "pt", "min": 0.7, "use": "value"}
    decision = decided(check | {"slice": "class"}, candidate)
    assert [result.slice for result in decision.results] == ["cat", "dog", "eel"]
    for result in decision.results:
        alone = only(candidate, "label", result.slice)
        assert result.reading == one(check, alone).reading
        assert result.state == one(check, alone).state
    whole = one(check, candidate).reading
    assert sum(result.reading.numerator for result in decision.results) == whole.numerator
    assert sum(result.reading.n for result in decision.results) == whole.n


@pytest.mark.parametrize("metric", ["errors", "forwards"])
def test_counts_and_forwards_have_slices_too(metric: str) -> None:
    decision = decided({"metric": metric, "max": FORWARDS, "slice": "class"}, head_run(MIXED, labels=LABELS))
    assert [result.state for result in decision.results] == ["pass"] * 3
    total = sum(result.reading.value for result in decision.results)
    assert total == (5 if metric == "errors" else 3 * FORWARDS)


@pytest.mark.parametrize("by", ["class", "group"])
def test_a_drop_by_slice_is_the_paired_difference_within_it(by: str) -> None:
    names = [("x", "y", "z")[k % 3] for k in range(1000)]
    columns = {"labels" if by == "class" else "groups": names}
    after, before = head_run(AFTER, name="after", **columns), head_run(BEFORE, name="before", **columns)
    decision = decided({"metric": "pt", "max_drop": 0.05, "slice": by}, after, before)
    assert [result.slice for result in decision.results] == ["x", "y", "z"]
    column = "label" if by == "class" else "group"
    for result in decision.results:
        found = pair(*(only(head, column, result.slice) for head in (before, after))).differences["pt"]
        assert (result.reading.value, result.reading.low, result.reading.high) == (found.value, found.low, found.high)


@pytest.mark.parametrize(("number", "method"), [(50, "cluster-bootstrap"), (18, "bootstrap")])
def test_clusters_are_the_units_within_a_class_that_has_enough_of_them(number: int, method: str) -> None:
    labels, clusters = [("x", "y")[k % 2] for k in range(1000)], [f"c{k % number}" for k in range(1000)]
    after, before = (head_run(s, name=n, labels=labels, clusters=clusters) for s, n in ((AFTER, "a"), (BEFORE, "b")))
    decision = decided({"metric": "pt", "max_drop": 0.05, "slice": "class"}, after, before)
    assert f"intervals of drops are over {number} clusters" in str(decision)
    found = pair(*(only(head, "label", "x") for head in (before, after))).differences["pt"]
    assert found.method == method
    result, check = decision.results[0], plain(decision.document)["checks"][0]
    assert (result.reading.low, result.reading.high) == (found.low, found.high)
    assert (check["units"], check["clusters"]) == ("clusters" if number == 50 else "samples", number // 2)
    assert ("9 clusters, fewer than 10" in result.message) == (number == 18)


@pytest.mark.parametrize("clusters", [None, [f"c{k % 4}" for k in range(1000)]], ids=["none", "four"])
def test_samples_are_the_units_where_clusters_are_few_and_every_output_says_so(clusters: list[str] | None) -> None:
    after, before = (head_run(s, name=n, clusters=clusters) for s, n in ((AFTER, "a"), (BEFORE, "b")))
    decision = decided({"metric": "pt", "max_drop": 0.5}, after, before)
    said = "over samples (4 clusters, fewer than 10)" if clusters else "over samples (no clusters)"
    assert decision.passed
    assert said in str(decision)
    assert any(said in text for text in decision.document.notices)
    assert said in junit([decision]).decode()
    assert said in html.unescape(markdown(decision))
    [check] = plain(decision.document)["checks"]
    assert (check["units"], check["clusters"]) == ("samples", 4 if clusters else None)


def test_samples_without_a_group_are_in_no_slice() -> None:
    groups = [None, "b", "a"] * 36 + [None, None]
    decision = decided({"metric": "accuracy", "min": 0.01, "slice": "group"}, head_run(MIXED, groups=groups))
    assert [(result.slice, result.reading.n) for result in decision.results] == [("a", 36), ("b", 36)]


@pytest.mark.parametrize("bound", [{"min": 0.1}, {"max_drop": 0.1}], ids=["min", "max_drop"])
def test_a_slice_that_no_sample_has_is_no_pass(bound: dict) -> None:
    check = {"metric": "pt", "slice": "group"} | bound
    decision = decided([check, {"metric": "pt", "min": 0.1}], head_run(MIXED), head_run(MIXED, name="before"))
    assert [result.state for result in decision.results] == ["inconclusive", "pass"]
    assert decision.exit_code == 3
    assert "no sample has a group" in str(decision)
    warned = decided([check | {"severity": "warn"}, {"metric": "pt", "min": 0.1}], head_run(MIXED), head_run(MIXED))
    assert warned.exit_code == 0


@pytest.mark.parametrize("use", ["interval", "ci_low"])
@pytest.mark.parametrize("by", [None, "class"])
def test_a_share_is_decided_on_its_interval_over_clusters(use: str, by: str | None) -> None:
    """PT 176/200 is above .8 over samples; of 40 clusters that are right or wrong as a whole it may not be."""
    found, clusters = ["rr"] * 175 + ["rw"] * 25, [f"c{k // 5}" for k in range(200)]
    check = {"metric": "pt", "min": 0.8, "use": use} | ({} if by is None else {"slice": by})
    loose, clustered = (decided(check, head_run(found, clusters=one)) for one in (None, clusters))
    assert (loose.verdict, clustered.verdict) == ("passed", "inconclusive")
    one, other = (plain(decision.document)["checks"][0] for decision in (loose, clustered))
    assert (one["units"], one["clusters"]) == ("samples", None)
    assert (other["units"], other["clusters"]) == ("clusters", 40)
    assert other["high"] - other["low"] > 2 * (one["high"] - one["low"])
    assert other["samples_needed"] > 200
    assert "intervals of shares are over 40 clusters" in str(clustered)


@pytest.mark.parametrize(("use", "said"), [("interval", True), ("value", False)])
def test_that_a_share_has_too_few_clusters_is_said(use: str, said: bool) -> None:
    clustered = head_run(MIXED, clusters=[None, *(f"c{k % 7}" for k in range(109))])
    check = {"metric": "pt", "min": 0.1, "use": use}
    assert ("over samples (8 clusters, fewer than 10)" in str(decided(check, clustered))) == said
    assert "clusters" not in str(decided(check, head_run(MIXED)))


def test_samples_outside_every_slice_are_counted() -> None:
    groups = ["a"] * 40 + [None] * 70
    decision = decided({"metric": "accuracy", "min": 0.1, "slice": "group"}, head_run(MIXED, groups=groups))
    assert "70 of 110 samples have no group" in str(decision)


def test_checks_that_can_stop_nothing_do_not_pass() -> None:
    decision = decided([{"metric": "pt", "min": limit, "severity": "warn"} for limit in (0.1, 0.99)], head_run(MIXED))
    assert (decision.verdict, decision.exit_code) == ("inconclusive", 3)
    assert 'severity "warn"' in str(decision)


@pytest.mark.parametrize("execution", [{"max_errors": 4}, {"max_errors": 0.02}, {}, {"max_errors": "many"}])
@pytest.mark.parametrize("which", [0, 1], ids=["candidate", "baseline"])
def test_a_run_with_more_errors_than_its_evaluation_allowed_does_not_pass(execution: dict, which: int) -> None:
    """5 of 110 samples failed; without a number in run.json the default of 1 % counts."""
    heads = [head_run(MIXED, name=name) for name in "ab"]
    heads[which] = head_run(MIXED, name="ab"[which], execution=execution)
    decision = decided({"metric": "accuracy", "max_drop": 0.2}, *heads)
    assert [result.state for result in decision.results] == ["pass"]
    assert decision.exit_code == 3
    assert f"5 of 110 samples of {'ab'[which]}@ft failed" in str(decision)
    assert decided({"metric": "accuracy", "min": 0.99}, *heads).exit_code == 1, "a violated check is still one"


@pytest.mark.parametrize(
    ("rows", "available"),
    [(states(rr=100), 120), (states(rr=100), 90)],
    ids=["parts were taken off the list", "more rows than samples"],
)
@pytest.mark.parametrize("which", [0, 1], ids=["candidate", "baseline"])
def test_a_complete_run_without_one_row_a_sample_is_refused(rows: list[str], available: int, which: int) -> None:
    heads = [head_run(states(rr=100), name=name) for name in "ab"]
    heads[which] = head_run(rows, name="ab"[which], samples={"planned": available, "available": available})
    with pytest.raises(RunError, match=f"{'ab'[which]}@ft holds rows of 100 samples, and its set has {available}"):
        decided({"metric": "pt", "min": 0.1}, *heads)


def test_runs_of_other_samples_are_refused() -> None:
    """Their digests agree, as those of a changed run.json may."""
    check = {"metric": "pt", "max_drop": 0.1}
    after, before = head_run(states(rr=90), name="after", start=10), head_run(states(rr=90), name="before")
    with pytest.raises(RunError, match="80 are in both runs: before@ft lacks 10 and after@ft lacks 10"):
        decided(check, after, before)


def test_the_same_run_with_another_digest_of_its_data_is_refused() -> None:
    identity = IDENTITY | {"data": "e" * 64}
    with pytest.raises(RunError, match=r"identity\.data"):
        decided({"metric": "pt", "max_drop": 0.1}, head_run(MIXED), head_run(MIXED, identity=identity))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("bound", ["min", "max"])
def test_a_number_that_is_none_is_no_pass(value: float, bound: str) -> None:
    decision = decided({"metric": "images_per_s", bound: 5}, head_run(MIXED, images_per_s=value))
    assert [result.state for result in decision.results] == ["error"]
    assert decision.exit_code == 3


@pytest.mark.parametrize("metric", ["pt", "ir", "accuracy"])
@pytest.mark.parametrize("bound", [{"min": 0.1}, {"max_drop": 0.9}, {"max_drop_relative": 0.9}])
def test_without_an_interval_a_check_that_asks_for_one_does_not_pass(metric: str, bound: dict) -> None:
    """Each interval in turn is taken away from what was measured."""
    [check] = read_policy([{"metric": metric} | bound]).checks
    for reading in (
        CheckedValue(100, 100, 90, 0.9),
        CheckedValue(100, 100, 90, 0.9, low=0.8),
        CheckedValue(100, 100, 90, 0.9, high=1),
    ):
        full = replace(reading, candidate=0.9, baseline=0.9, baseline_denominator=100) if check.is_drop else reading
        assert judge(check, None, full).state == "inconclusive"


@pytest.mark.parametrize("found", [[], states(error=7)], ids=["no samples", "only errors"])
@pytest.mark.parametrize("severity", ["error", "warn"])
@pytest.mark.parametrize(
    "check",
    [
        {"metric": "pt", "min": 0.1},
        {"metric": "capped", "max": 0.5},
        {"metric": "pt", "min": 0.1, "slice": "class"},
        {"metric": "forwards", "max": 100},
    ],
)
def test_a_run_without_a_prediction_is_never_a_pass(found: list[str], severity: str, check: dict) -> None:
    decision = decided(check | {"severity": severity}, head_run(found))
    assert decision.exit_code == 3
    assert "no sample of run@ft has a prediction" in str(decision)


def made(*outcomes: tuple[str, str]) -> Decision:
    """A decision with results of the given (state, severity)."""
    template = decided({"metric": "pt", "min": 0.5}, head_run(MIXED))
    checks = [
        read_policy([{"metric": "pt", "min": 0.5, "severity": severity, "name": f"c{k}"}]).checks[0]
        for k, (_, severity) in enumerate(outcomes)
    ]
    results = tuple(
        Result(check, None, state, CheckedValue(110, 85, 65, 0.7), 0.5, "so it is")
        for check, (state, _) in zip(checks, outcomes, strict=True)
    )
    return replace(template, policy=replace(template.policy, checks=tuple(checks)), results=results)


BLOCKING = ("fail", "error", "inconclusive", "pass")
HARMLESS = ("warn", "error", "inconclusive", "pass")


@given(st.lists(st.sampled_from(BLOCKING), max_size=4), st.lists(st.sampled_from(HARMLESS), max_size=3))
@settings(max_examples=60)
def test_the_worst_of_the_checks_of_severity_error_is_the_verdict(blocking: list[str], harmless: list[str]) -> None:
    decision = made(*((state, "error") for state in blocking), *((state, "warn") for state in harmless))
    if "fail" in blocking:
        expected = ("failed", 1)
    elif {"error", "inconclusive"} & set(blocking) or not blocking:
        expected = ("inconclusive", 3)
    else:
        expected = ("passed", 0)
    assert (decision.verdict, decision.exit_code) == expected
    assert decision.passed == (expected == ("passed", 0))
    assert decision.counts == {s: n for s, n in Counter(blocking + harmless).items()}


def test_a_violated_warning_is_said_and_stops_nothing() -> None:
    decision = decided(
        [{"metric": "pt", "min": 0.99, "severity": "warn"}, {"metric": "pt", "min": 0.1}], head_run(MIXED)
    )
    assert [result.state for result in decision.results] == ["warn", "pass"]
    assert decision.passed
    assert "warn: pt min 0.99: 0.7647" in str(decision)


@pytest.mark.parametrize("status", ["partial", "running", "failed"])
@pytest.mark.parametrize("which", [0, 1], ids=["candidate", "baseline"])
def test_a_run_that_is_not_complete_is_refused_unless_it_is_allowed(status: str, which: int) -> None:
    heads = [head_run(MIXED, name=name, status=status if k == which else "complete") for k, name in enumerate("ab")]
    check = {"metric": "pt", "min": 0.1}
    said = "was interrupted" if status == "running" else f"is {status}"  # no process is at work
    with pytest.raises(RunError, match=f"{'ab'[which]}@ft {said}.*--allow-partial"):
        decided(check, *heads)
    decision = decided(check, *heads, allow_partial=True)
    assert decision.passed
    assert f"{'ab'[which]} is {status}: decided on 110 of 110 samples" in str(decision)


def test_runs_that_measured_different_things_are_refused() -> None:
    other = head_run(MIXED, name="other", measurement=Measurement(masks=25).to_json())
    with pytest.raises(RunError, match=r"measurement\.masks"):
        decided({"metric": "pt", "max_drop": 0.1}, head_run(MIXED), other)


def test_a_drop_without_a_baseline_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"check 'pt max_drop 0\.1' is a drop and needs a baseline; add --baseline"):
        decided([{"metric": "pt", "min": 0.1}, {"metric": "pt", "max_drop": 0.1}], head_run(MIXED))


def test_partial_runs_are_compared_on_what_both_have() -> None:
    before = head_run(states(rr=90, rw=10), name="before", status="partial")
    after = head_run(states(rr=50, rw=50), name="after", status="partial", start=50)
    check = {"metric": "pt", "max_drop": 0.5, "use": "value"}
    assert one(check, after, before, allow_partial=True).reading.n == 50
    with pytest.raises(RunError, match="have no sample in common"):
        decided(check, head_run(MIXED, name="after", status="partial", start=500), before, allow_partial=True)


POLICY = [
    {"metric": "pt", "min": 0.3, "slice": "class", "min_samples": 5},
    {"metric": "ir", "min": 0.85, "severity": "warn"},
    {"metric": "pt", "max_drop": 0.2},
    {"metric": "undefined", "max": 3},
    {"metric": "images_per_s", "max_drop_relative": 0.1},
    {"metric": "accuracy", "max": 0.99, "slice": "group"},
]


@pytest.mark.parametrize("pace", [10.0, None])
def test_the_json_follows_its_schema_and_repeats_the_decision(pace: float | None) -> None:
    before = head_run(MIXED, labels=LABELS, name="before", images_per_s=pace)
    decision = decided(POLICY, head_run(MIXED[::-1], labels=LABELS, name="after"), before)
    found = json.loads(written(decision.document))
    jsonschema.validate(found, schema_of(GateDocument))
    assert (found["verdict"], found["exit_code"]) == (decision.verdict, decision.exit_code)
    assert found["policy"]["digest"] == read_policy(POLICY).digest
    assert [check["state"] for check in found["checks"]] == [result.state for result in decision.results]
    assert found["checks"][0] | {"slice": "cat", "slice_by": "class", "metric": "pt"} == found["checks"][0]
    assert sum(found["counts"].values()) == len(found["checks"]) == 8
    assert found["run"]["name"] == "after@ft"
    assert found["baseline"]["name"] == "before@ft"


def test_the_same_runs_give_the_same_decision() -> None:
    heads = head_run(AFTER, name="after"), head_run(BEFORE, name="before")
    policy = read_policy([{"metric": "pt", "max_drop": 0.05}, {"metric": "ir", "min": 0.8}])
    assert decide(policy, *heads).document == decide(policy, *heads).document


def test_a_name_cannot_begin_a_line_of_an_assertion() -> None:
    check = {"metric": "pt", "min": 0.99, "slice": "class"}
    decision = decided(check, head_run(MIXED, labels=["a\n::error::x"] * len(MIXED), name="b\n::error::y"))
    assert [line for line in str(decision).splitlines() if line.startswith(":")] == []


def test_an_assertion_shows_what_failed() -> None:
    decision = decided([{"metric": "pt", "min": 0.9}, {"metric": "errors", "max": 0.5}], head_run(MIXED))
    text = str(decision)
    assert text.splitlines()[0] == "gate failed: run@ft, policy (1 fail, 1 pass)"
    assert "fail: pt min 0.9: 0.7647 [0.6643 to 0.8422], 65/85: the interval lies below 0.9" in text
    assert "errors" not in text, "what passed is not in the way"
    assert repr(decision) == text


def test_by_holm_a_slice_violates_more_clearly_than_one_of_many_would_by_chance() -> None:
    valid = {"c00": 2, "c01": 7} | {f"c{k:02d}": 15 for k in range(2, 40)}  # of 20 right predictions each
    found = [state for rr in valid.values() for state in ["rr"] * rr + ["rw"] * (20 - rr)]
    head = head_run(found, labels=[name for name in valid for _ in range(20)])
    check = {"metric": "pt", "min": 0.6, "slice": "class"}
    alone = {one.slice: one.state for one in decided(check, head).results}
    decision = decided(check | {"multiplicity": "holm"}, head)
    held = {one.slice: one for one in decision.results}
    assert (alone["c00"], alone["c01"]) == ("fail", "fail")
    assert (held["c00"].state, held["c01"].state) == ("fail", "inconclusive")
    assert held["c01"].why.endswith("lies below 0.6, as one of 40 slices may by chance (Holm: p 0.88)")
    assert {name: one.state for name, one in held.items()} | {"c01": "fail"} == alone
    assert any("Holm" in text for text in decision.notices)
    assert decision.document.checks[0].multiplicity == "holm"
    few = decided(check | {"multiplicity": "holm", "min_samples": 21}, head)
    assert {one.state for one in few.results} == {"inconclusive"}
    mirrored = decided({"metric": "accuracy", "max": 0.5, "slice": "class", "multiplicity": "holm"}, head)
    assert {one.state for one in mirrored.results} == {"fail"}
