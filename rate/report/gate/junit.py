"""Gates' decisions as JUnit XML: a suite for each run and head, a test case for every check, slice and run of a grid.

A violated check is a ``failure``; one that could not be computed or decided is an ``error``; both only for checks that
can stop a release, so that the file reports a failure exactly if the exit code is not 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from rate.report.gate.decide import Decision
from rate.report.gate.result import Result

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent, escaped or not (section 2.2 of the recommendation)."""

_ELEMENTS = ("failure", "error", "skipped")


def junit(decisions: Sequence[Decision]) -> bytes:
    """Encode decisions as an XML document in UTF-8; characters that XML cannot represent become U+FFFD."""
    names = [decision.run.name for decision in decisions]
    suites = [
        _suite(one, name if names.count(name) == 1 else f"{one.run.folder}@{one.run.head}")
        for one, name in zip(decisions, names, strict=True)
    ]
    totals = _counts([case for suite in suites for case in suite.iter("testcase")])
    del totals["skipped"]  # an attribute that Jenkins' junit-10.xsd does not allow here
    root = _element("testsuites", name="rate gate", time="0", **totals)
    root.extend(suites)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _suite(decision: Decision, run: str) -> ET.Element:
    cases = [_case(result, run) for result in decision.results]
    if decision.cannot_pass is not None:
        case = _element("testcase", name="gate", classname=run, time="0")
        _add(case, "error", decision.cannot_pass, "inconclusive")
        cases.append(case)
    suite = _element("testsuite", name=run, time="0", **_counts(cases))
    properties = ET.SubElement(suite, "properties")
    properties.extend(_element("property", name=name, value=value) for name, value in _properties(decision))
    suite.extend(cases)
    if decision.notices:
        ET.SubElement(suite, "system-out").text = _clean("\n".join(decision.notices))
    return suite


def _case(result: Result, run: str) -> ET.Element:
    case = _element("testcase", name=result.name, classname=run, time="0")
    if result.state == "fail":
        _add(case, "failure", result.message, result.check.bound)
    elif result.state in ("error", "inconclusive") and result.check.blocks:
        _add(case, "error", result.message, "not-computed" if result.state == "error" else "inconclusive")
    elif result.state in ("error", "inconclusive"):
        _add(case, "skipped", f"{result.state}: {result.message}")
    else:
        said = result.message if result.state == "pass" else f"warning: {result.message}"
        ET.SubElement(case, "system-out").text = _clean(said)
    return case


def _add(case: ET.Element, tag: str, message: str, kind: str | None = None) -> None:
    outcome = _element(tag, message=message, **({} if kind is None else {"type": kind}))
    outcome.text = _clean(message)  # some readers show the attribute only, some the text only
    case.append(outcome)


def _counts(cases: Iterable[ET.Element]) -> dict[str, str]:
    cases = list(cases)
    failures, errors, skipped = (sum(case.find(tag) is not None for case in cases) for tag in _ELEMENTS)
    return {"tests": str(len(cases)), "failures": str(failures), "errors": str(errors), "skipped": str(skipped)}


def _properties(decision: Decision) -> Iterable[tuple[str, str]]:
    yield "verdict", decision.verdict
    yield "exit_code", str(decision.exit_code)
    yield "policy", decision.policy.source
    yield "policy_digest", decision.policy.digest
    for role, identity in (("run", decision.run), ("baseline", decision.baseline)):
        if identity is not None:
            yield from (
                (f"{role}_{name}", str(getattr(identity, name))) for name in ("name", "status", "key", "weights")
            )


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {name: _clean(value) for name, value in attributes.items()})


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
