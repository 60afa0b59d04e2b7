"""The decision of a gate: what passes, what fails, what cannot be told, and that nothing else is ever a pass."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import jsonschema
import pyarrow.compute as pc
import pytest
from gate_runs import decided, head_run, states
from hypothesis import given, settings
from hypothesis import strategies as st

from rate.errors import RunError, UsageError
from rate.metrics import wilson
from rate.report.compare.compare import pair
from rate.report.gate.checked_values import Reading, number
from rate.report.gate.decide import Decision, Result, decide
from rate.report.gate.policy import read_policy
from rate.report.schemas import GATE

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
    assert (reading.low, reading.high) == wilson(numerator, denominator)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 0.99), st.sampled_from(["min", "max"]))
@settings(max_examples=60, deadline=None)
def test_an_interval_passes_fails_or_straddles(right: int, wrong: int, threshold: float, bound: str) -> None:
    result = one({"metric": "pt", bound: threshold}, head_run(states(rr=right, rw=wrong)))
    if right + wrong == 0:
        assert result.state == "inconclusive"
        return
    low, high = wilson(right, right + wrong)
    above, below = (low >= threshold, high < threshold) if bound == "min" else (high <= threshold, low > threshold)
    assert result.state == ("pass" if above else "fail" if below else "inconclusive")


@given(st.integers(1, 80), st.integers(1, 80), st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_the_named_number_of_samples_is_what_it_takes(right: int, wrong: int, threshold: float) -> None:
    """At the same share, the interval leaves the threshold out from that denominator on and not before."""
    result = one({"metric": "pt", "min": threshold}, head_run(states(rr=right, rw=wrong)))
    if result.state != "inconclusive" or result.needed is None:
        return
    assert result.needed > right + wrong
    times = result.needed / (right + wrong)
    for factor, decides in ((math.ceil(times), True), (math.ceil(times) - 1, False)):
        low, high = wilson(right * factor, (right + wrong) * factor)
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
    assert one({"metric": "forwards", "max": 25}, head).state == "pass"
    assert one({"metric": "forwards", "max": 24.9}, head).state == "fail"
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
@pytest.mark.parametrize("groups", [None, [f"g{k * k % 97}" for k in range(1000)]], ids=["samples", "groups"])
def test_a_drop_is_the_paired_difference(metric: str, groups: list[str] | None) -> None:
    after, before = head_run(AFTER, groups=groups, name="after"), head_run(BEFORE, groups=groups, name="before")
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


@pytest.mark.parametrize("kept", range(0, 101, 5))
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


LABELS = ["cat", "dog", "eel"] * 36 + ["cat", "dog"]


def test_a_slice_by_class_is_the_gate_of_that_class_alone() -> None:
    candidate = head_run(MIXED, labels=LABELS)
    check = {"metric": "pt", "min": 0.7, "use": "value"}
    decision = decided(check | {"slice": "class"}, candidate)
    assert [result.slice for result in decision.results] == ["cat", "dog", "eel"]
    for result in decision.results:
        alone = replace(candidate, rows=candidate.rows.filter(pc.equal(candidate.rows["label"], result.slice)))
        assert result.reading == one(check, alone).reading
        assert result.state == one(check, alone).state
    whole = one(check, candidate).reading
    assert sum(result.reading.numerator for result in decision.results) == whole.numerator
    assert sum(result.reading.n for result in decision.results) == whole.n


@pytest.mark.parametrize("metric", ["errors", "forwards"])
def test_counts_and_forwards_have_slices_too(metric: str) -> None:
    decision = decided({"metric": metric, "max": 25, "slice": "class"}, head_run(MIXED, labels=LABELS))
    assert [result.state for result in decision.results] == ["pass"] * 3
    total = sum(result.reading.value for result in decision.results)
    assert total == (5 if metric == "errors" else 75)


@pytest.mark.parametrize("by", ["class", "group"])
def test_a_drop_by_slice_is_the_paired_difference_within_it(by: str) -> None:
    names = [("x", "y", "z")[k % 3] for k in range(1000)]
    columns = {"labels" if by == "class" else "groups": names}
    after, before = head_run(AFTER, name="after", **columns), head_run(BEFORE, name="before", **columns)
    decision = decided({"metric": "pt", "max_drop": 0.05, "slice": by}, after, before)
    assert [result.slice for result in decision.results] == ["x", "y", "z"]
    column = "label" if by == "class" else "group"
    for result in decision.results:
        parts = [
            replace(head, rows=head.rows.filter(pc.equal(head.rows[column], result.slice))) for head in (before, after)
        ]
        found = pair(*parts, by_group=False).differences["pt"]
        assert (result.reading.value, result.reading.low, result.reading.high) == (found.value, found.low, found.high)


def test_groups_are_resampled_within_a_class() -> None:
    labels, groups = [("x", "y")[k % 2] for k in range(1000)], [f"g{k % 50}" for k in range(1000)]
    after, before = (head_run(s, name=n, labels=labels, groups=groups) for s, n in ((AFTER, "a"), (BEFORE, "b")))
    result = decided({"metric": "pt", "max_drop": 0.05, "slice": "class"}, after, before).results[0]
    parts = [replace(head, rows=head.rows.filter(pc.equal(head.rows["label"], "x"))) for head in (before, after)]
    found = pair(*parts).differences["pt"]
    assert found.method == "cluster-bootstrap"
    assert (result.reading.low, result.reading.high) == (found.low, found.high)


def test_too_few_groups_for_an_interval_decide_nothing() -> None:
    groups = [f"g{k % 4}" for k in range(1000)]
    after, before = head_run(AFTER, groups=groups, name="a"), head_run(BEFORE, groups=groups, name="b")
    result = one({"metric": "pt", "max_drop": 0.5}, after, before)
    assert result.state == "inconclusive"
    assert "too few groups" in result.message


def test_samples_without_a_group_are_in_no_slice() -> None:
    groups = [None, "b", "a"] * 36 + [None, None]
    decision = decided({"metric": "accuracy", "min": 0.01, "slice": "group"}, head_run(MIXED, groups=groups))
    assert [(result.slice, result.reading.n) for result in decision.results] == [("a", 36), ("b", 36)]


def test_a_slice_that_does_not_exist_is_skipped_and_alone_it_is_no_pass() -> None:
    check = {"metric": "pt", "min": 0.1, "slice": "group"}
    decision = decided(check, head_run(MIXED))
    assert [result.state for result in decision.results] == ["skipped"]
    assert decision.exit_code == 3
    assert "every check was skipped" in str(decision)
    assert decided([check, {"metric": "pt", "min": 0.1}], head_run(MIXED)).exit_code == 0


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
        Result(check, None, state, Reading(110, 85, 65, 0.7), 0.5, "so it is")
        for check, (state, _) in zip(checks, outcomes, strict=True)
    )
    return replace(template, policy=replace(template.policy, checks=tuple(checks)), results=results)


BLOCKING = ("fail", "error", "inconclusive", "skipped", "pass")
HARMLESS = ("warn", "error", "inconclusive", "skipped", "pass")


@given(st.lists(st.sampled_from(BLOCKING), max_size=4), st.lists(st.sampled_from(HARMLESS), max_size=3))
@settings(max_examples=60, deadline=None)
def test_the_worst_of_the_checks_of_severity_error_is_the_verdict(blocking: list[str], harmless: list[str]) -> None:
    decision = made(*((state, "error") for state in blocking), *((state, "warn") for state in harmless))
    if "fail" in blocking:
        expected = ("failed", 1)
    elif {"error", "inconclusive"} & set(blocking):
        expected = ("inconclusive", 3)
    else:
        expected = ("passed", 0)
    assert (decision.verdict, decision.exit_code) == expected
    assert decision.passed == (expected == ("passed", 0))
    assert decision.counts == {s: n for s, n in Counter(blocking + harmless).items()}


def test_a_violated_warning_is_said_and_stops_nothing() -> None:
    decision = decided({"metric": "pt", "min": 0.99, "severity": "warn"}, head_run(MIXED))
    assert [result.state for result in decision.results] == ["warn"]
    assert decision.passed
    assert "warn: pt min 0.99: 0.7647" in str(decision)


@pytest.mark.parametrize("status", ["partial", "running", "failed"])
@pytest.mark.parametrize("which", [0, 1], ids=["candidate", "baseline"])
def test_a_run_that_is_not_complete_is_refused_unless_it_is_allowed(status: str, which: int) -> None:
    heads = [head_run(MIXED, name=name, status=status if k == which else "complete") for k, name in enumerate("ab")]
    check = {"metric": "pt", "min": 0.1}
    with pytest.raises(RunError, match=f"{'ab'[which]}@ft is {status}.*--allow-partial"):
        decided(check, *heads)
    decision = decided(check, *heads, allow_partial=True)
    assert decision.passed
    assert f"{'ab'[which]} is {status}: decided on 110 of 110 samples" in str(decision)


def test_runs_that_measured_different_things_are_refused() -> None:
    other = head_run(MIXED, name="other", measurement={"masks": 25, "tau": 0.5})
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
    found = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    jsonschema.validate(found, GATE)
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
    assert decide(policy, *heads).to_json() == decide(policy, *heads).to_json()


def test_an_assertion_shows_what_failed() -> None:
    decision = decided([{"metric": "pt", "min": 0.9}, {"metric": "errors", "max": 0.5}], head_run(MIXED))
    text = str(decision)
    assert text.splitlines()[0] == "gate failed: run@ft, policy (1 fail, 1 pass)"
    assert "fail: pt min 0.9: 0.7647 [0.6643 to 0.8422], 65/85: the interval lies below 0.9" in text
    assert "errors" not in text, "what passed is not in the way"
    assert repr(decision) == text
