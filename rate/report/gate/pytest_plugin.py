"""The plug-in for pytest: a fixture that decides gates, and their decisions at the end of a test run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from rate.report.gate.decide import Decision
    from rate.report.gate.policy import PolicySource

_SECTION = "rate gate"


class RateGate:
    """What the fixture `rate_gate` gives."""

    def __init__(self, test: pytest.Item) -> None:
        self._test = test

    def __call__(
        self,
        run: str | Path,
        policy: PolicySource,
        baseline: str | Path | None = None,
        *,
        allow_partial: bool = False,
        inconclusive: Literal["fail", "skip"] = "fail",
    ) -> Decision:
        """Decide whether a run passes a policy, and end the test if it does not.

        The arguments are those of `rate.gate`; ``inconclusive`` says what a gate that shows nothing does to the test.

        Raises:
            RateError: nothing could be decided: the policy, a run or the baseline cannot be used.
        """
        from rate.report.gate.grids import decide_named
        from rate.report.gate.policy import read_policy

        before = None if baseline is None else str(baseline)
        decision = decide_named(read_policy(policy), str(run), before, allow_partial=allow_partial)
        self._test.add_report_section("call", _SECTION, decision.headline)
        if decision.verdict == "inconclusive" and inconclusive == "skip":
            pytest.skip(decision.headline)
        if not decision.passed:
            pytest.fail(str(decision), pytrace=False)
        return decision


@pytest.fixture
def rate_gate(request: pytest.FixtureRequest) -> RateGate:
    """Decide gates within a test; the decision is in the summary of the test run."""
    return RateGate(request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every decision of the test run, a line each."""
    reports = [one for kind in ("passed", "failed", "skipped") for one in terminalreporter.getreports(kind)]
    decisions = [
        f"{report.nodeid}: {text}"
        for report in reports
        if report.when == "call"
        for name, text in report.sections
        if name == f"Captured {_SECTION} call"
    ]
    if decisions:
        terminalreporter.section("rate gates")
        for line in decisions:
            terminalreporter.line(line)
