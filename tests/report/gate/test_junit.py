"""The XML parses, counts right, and is red exactly where the exit code is not 0."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import defusedxml.ElementTree
import pytest
from gate_runs import decided, head_run, states
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from rate.report.gate.checked_values import CheckedValue
from rate.report.gate.decide import Decision
from rate.report.gate.junit import junit
from rate.report.gate.policy import read_policy
from rate.report.gate.result import Result

HEAD = head_run(states(rr=60, rw=20, wr=10))
PASSING = {"metric": "pt", "min": 0.1}


def suite_of(decision: Decision) -> ET.Element:
    [suite] = defusedxml.ElementTree.fromstring(junit([decision]))
    return suite


def outcome(case: ET.Element) -> str:
    return next((tag for tag in ("failure", "error", "skipped") if case.find(tag) is not None), "passed")


def made(outcomes: list[tuple[str, bool]], undecided: str | None = None) -> Decision:
    """A decision with results of the given (state, whether the check blocks)."""
    tables = [
        {"metric": "pt", "min": 0.5, "name": f"c{k}", "severity": "error" if blocks else "warn"}
        for k, (_, blocks) in enumerate(outcomes)
    ]
    policy = read_policy(tables or [PASSING])
    results = tuple(
        Result(check, None, state, CheckedValue(9, 8, 7, 0.875, 0.5, 0.9), 0.5, "so it is")
        for check, (state, _) in zip(policy.checks, outcomes, strict=False)
    )
    return replace(decided(PASSING, HEAD), policy=policy, results=results, undecided=undecided)


OUTCOMES = st.tuples(st.sampled_from(["fail", "error", "inconclusive", "pass"]), st.just(True)) | st.tuples(
    st.sampled_from(["warn", "error", "inconclusive", "pass"]), st.just(False)
)


@given(st.lists(OUTCOMES, max_size=8), st.none() | st.just("nothing was decided"))
@settings(max_examples=80)
def test_counts_are_those_of_the_cases_and_red_is_a_code_other_than_0(outcomes: list, undecided: str | None) -> None:
    decision = made(outcomes, undecided)
    suite = suite_of(decision)
    found = [outcome(case) for case in suite.iter("testcase")]
    cannot_pass = undecided is not None or not any(blocks for _, blocks in outcomes)
    assert int(suite.get("tests")) == len(found) == len(outcomes) + cannot_pass
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(attribute)) == found.count(kind)
    assert found.count("failure") == decision.counts.get("fail", 0)
    assert (("failure" in found) or ("error" in found)) == (decision.exit_code != 0)


COUNTS = {"tests", "failures", "errors"}
CHILDREN = {  # of Jenkins' junit-10.xsd: element -> what may stand in it
    "testsuites": {"testsuite"},
    "testsuite": {"testsuite", "properties", "testcase", "system-out", "system-err"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
    "properties": {"property"},
}
ATTRIBUTES = {  # element -> (those it must have, those it may have)
    "testsuites": (set(), {"name", "time"} | COUNTS),
    "testsuite": ({"name"} | COUNTS, {"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file"}),
    "testcase": ({"name"}, {"time", "classname", "group"}),
    "property": ({"name", "value"}, set()),
} | dict.fromkeys(("failure", "error", "skipped"), (set(), {"type", "message"}))
MIXED_TEXT = {"failure", "error", "skipped", "system-out", "system-err"}
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def against_jenkins_schema(element: ET.Element) -> list[str]:
    """What the schema does not allow in an element and below it."""
    needed, optional = ATTRIBUTES.get(element.tag, (set(), set()))
    wrong = [f"{element.tag} lacks {name}" for name in needed - set(element.attrib)]
    wrong += [f"{element.tag} has {name}" for name in set(element.attrib) - needed - optional]
    if element.tag != "testcase" and not TIME.fullmatch(element.get("time", "")):
        wrong.append(f"{element.tag} takes {element.get('time')}")
    if element.tag not in MIXED_TEXT and (element.text or "").strip():
        wrong.append(f"{element.tag} says {element.text}")
    for child in element:
        if child.tag not in CHILDREN.get(element.tag, set()):
            wrong.append(f"{child.tag} in {element.tag}")
        wrong += against_jenkins_schema(child)
    return wrong


@given(st.lists(OUTCOMES, max_size=8), st.none() | st.just("nothing was decided"), st.booleans())
@settings(max_examples=60)
def test_the_file_follows_jenkins_schema(outcomes: list, undecided: str | None, noted: bool) -> None:
    decision = replace(made(outcomes, undecided), notices=("mind the gap",) if noted else ())
    assert against_jenkins_schema(defusedxml.ElementTree.fromstring(junit([decision]))) == []


@pytest.mark.parametrize(
    ("state", "blocks", "tag", "kind"),
    [
        ("fail", True, "failure", "min"),
        ("error", True, "error", "not-computed"),
        ("inconclusive", True, "error", "inconclusive"),
        ("inconclusive", False, "skipped", None),
        ("error", False, "skipped", None),
    ],
)
def test_every_state_has_its_element_with_value_interval_and_count(
    state: str, blocks: bool, tag: str, kind: str | None
) -> None:
    case = suite_of(made([(state, blocks)])).find("testcase")
    assert outcome(case) == tag
    element = case.find(tag)
    assert element.get("type") == kind
    assert "0.875 [0.5 to 0.9], 7/8: so it is" in element.get("message")


@pytest.mark.parametrize(("state", "said"), [("pass", "0.875"), ("warn", "warning: 0.875")])
def test_what_stops_nothing_is_a_passed_case_that_says_so(state: str, said: str) -> None:
    case = suite_of(made([(state, state == "pass")])).find("testcase")
    assert outcome(case) == "passed"
    assert case.find("system-out").text.startswith(said)


def test_who_was_held_against_what_is_in_the_properties() -> None:
    before = head_run(states(rr=70, rw=20), name="before")
    decision = decided({"metric": "pt", "max_drop": 0.5}, HEAD, before)
    found = {element.get("name"): element.get("value") for element in suite_of(decision).iter("property")}
    assert found["verdict"] == decision.verdict
    assert found["policy_digest"] == decision.policy.digest
    assert found["run_name"] == "run@ft"
    assert found["baseline_name"] == "before@ft"
    assert found["run_status"] == "complete"


@given(st.text(min_size=1).map(lambda text: text.encode(errors="replace").decode()))
@settings(max_examples=100)
def test_any_class_name_survives_or_is_replaced_character_by_character(name: str) -> None:
    head = head_run(["rr"], labels=[name])
    decision = decided(PASSING | {"slice": "class", "name": "c"}, head)
    [case] = suite_of(decision).iter("testcase")
    shown = case.get("name").removeprefix("c [").removesuffix("]")
    assert len(shown) == len(name)
    for ours, theirs in zip(shown, name, strict=True):
        assert ours in (theirs, "\ufffd")


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x1b", "\x1f", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_replaced(character: str) -> None:
    decision = made([("fail", True)])
    decision = replace(decision, results=(replace(decision.results[0], why=f"a{character}b <&>"),))
    [case] = suite_of(decision).iter("testcase")
    assert case.find("failure").text.endswith("a\ufffdb <&>")


def test_two_runs_of_one_name_are_two_suites() -> None:
    decision = decided(PASSING, HEAD)
    runs = [structs.replace(decision.run, folder=folder) for folder in ("a/run", "b/run")]
    root = defusedxml.ElementTree.fromstring(junit([replace(decision, run=run) for run in runs]))
    assert [suite.get("name") for suite in root] == ["a/run@ft", "b/run@ft"]
    assert [case.get("classname") for case in root.iter("testcase")] == ["a/run@ft", "b/run@ft"]
