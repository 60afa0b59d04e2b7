"""The document of `rate gate --json`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from rate.records import AtLeastOne, Count, Document, Record, RunStatus, Sha256
from rate.report.gate.policy import BOUNDS, METRICS, MULTIPLICITY, OVER, SEVERITIES

State: TypeAlias = Literal["fail", "error", "inconclusive", "warn", "pass"]
Units: TypeAlias = Literal["clusters", "samples"]


class HeadIdentity(Record, frozen=True):
    """A head that was gated, or that drops were measured against."""

    name: str
    folder: str
    head: str
    status: RunStatus
    key: str
    weights: str
    n: Count  # samples


class PolicyIdentity(Record, frozen=True):
    """The policy."""

    source: str
    digest: Sha256


class CheckRecord(Record, frozen=True, kw_only=True):
    """A check, and what came of it for the whole head or for one slice."""

    name: str
    metric: Annotated[str, Meta(extra_json_schema={"enum": list(METRICS)})]
    bound: Annotated[str, Meta(extra_json_schema={"enum": list(BOUNDS)})]
    threshold: Annotated[float, Meta(ge=0)]
    use: Literal["interval", "value"]
    min_samples: AtLeastOne
    severity: Annotated[str, Meta(extra_json_schema={"enum": list(SEVERITIES)})]
    over: Annotated[str, Meta(extra_json_schema={"enum": list(OVER)})]
    multiplicity: Annotated[str, Meta(extra_json_schema={"enum": list(MULTIPLICITY)})]
    slice_by: Literal["class", "group"] | None
    slice: str | None
    run: Annotated[str | None, Meta(description="the run in its grid; null: no grid, or the mean over it")]
    state: State
    limit: Annotated[float | None, Meta(description="what the value is held against")]
    value: float | None
    low: float | None
    high: float | None
    numerator: Count | None
    denominator: Count
    n: Count
    candidate: float | None
    baseline: float | None
    units: Annotated[Units | None, Meta(description="of the interval: what it takes as independent")]
    clusters: AtLeastOne | None
    samples_needed: Annotated[AtLeastOne | None, Meta(description="about how large a denominator would decide")]
    message: str


class GateDocument(Document, frozen=True, kw_only=True, tag="rate.gate/6"):
    """A decision."""

    verdict: Literal["passed", "failed", "inconclusive"]
    exit_code: Literal[0, 1, 3]
    run: HeadIdentity
    baseline: HeadIdentity | None
    policy: PolicyIdentity
    counts: dict[State, Count]
    notices: tuple[str, ...]
    checks: tuple[CheckRecord, ...]


class GatesDocument(Document, frozen=True, kw_only=True, tag="rate.gates/2"):
    """The decisions of several runs by one policy."""

    verdict: Annotated[Literal["passed", "failed", "inconclusive"], Meta(description="the worst of the gates")]
    exit_code: Literal[0, 1, 3]
    gates: tuple[GateDocument, ...]
