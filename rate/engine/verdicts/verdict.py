"""A verdict, and the interface of the two instruments that reach it: swaps and maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

from rate.engine.verdicts.prediction import Prediction
from rate.kernels.saliency import Bounds
from rate.types import Float64, Int64, Prepared, Region, Rows, Sample, Scores, SoftRegion


@dataclass(frozen=True, slots=True)
class SwapResult:
    """The Shapley values of region and rest over the fills that a sample met, and what its predictions became."""

    share: float | None  # of the region, in [0, 1]; None where neither value is positive
    share_se: float | None  # standard error; None for a single fill
    phi_region: float
    phi_rest: float
    phi_region_se: float | None
    phi_rest_se: float | None
    # Of the first fills alone where their number is not fixed; None of a region that leaves nothing to swap:
    kept_alone: float | None  # share of the fills around the region under which the prediction stays
    kept_without: float | None  # share of the fills in the region under which the prediction stays
    object_only: float | None  # share of the fills around the region under which the label is predicted
    background_only: float | None  # share of the fills in the region under which the label is predicted
    fills: int
    shuffled_valid: bool | None = None  # the verdict along the region of another sample; None: not asked, or undefined


@dataclass(frozen=True, slots=True, eq=False)
class MapResult:
    """A saliency map's mass inside the region, and what it can be."""

    mass: dict[str, float | None]  # evidence kind -> relevance mass; None without evidence
    standard_error: float | None  # of the mass of the positive evidence
    bounds: Bounds
    localization: float | None  # of the positive evidence
    midpoint: bool | None  # the verdict under this rule, None if undefined
    absolute: bool | None
    evidence: Float64  # [h,w] of the run's evidence kind


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The verdict on one head's prediction of one sample, with its evidence: of a map, or of swaps."""

    sample: Sample
    prediction: Prediction
    area: float  # share of the image inside the region
    region: Region
    reason: str | None  # why there is no verdict; None if there is one
    valid: bool | None  # under the run's rule; None if undefined
    forwards: int  # clean row included
    settled: str  # fixed: after a given number of rows | decided: it was clear | capped: it never became clear
    map: MapResult | None = None
    swap: SwapResult | None = None

    @property
    def saliency(self) -> MapResult:
        """The result of a map, for callers that asked for one."""
        assert self.map is not None, "a verdict by swaps has no map"
        return self.map


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of k heads to the first n perturbed rows of a sample."""

    scores: Scores  # [k,n]
    predicted: Annotated[Int64, "k n"]  # index of the predicted class

    def of(self, heads: list[int], rows: int) -> Answers:
        """Return the answers of some heads to the first ``rows`` rows."""
        return Answers(self.scores[heads, :rows], self.predicted[heads, :rows])


class SampleEvidence(Protocol):
    """The evidence of one sample after some of its rows, for k heads."""

    @property
    def clearance(self) -> list[float | None]:
        """The signed standard errors between each head's evidence and its threshold.

        It is 0 for evidence that is not above its own noise, and None if no further row can make a verdict defined, or
        hardly any.
        """

    def verdict(self, k: int, settled: str) -> Verdict:
        """Return the current verdict of head ``k``."""


class PerturbedSample(Protocol):
    """A sample in its slot of the backend: its perturbed rows, and what their answers mean."""

    @property
    def prepared(self) -> Prepared:
        """The sample."""

    def rows(self, start: int, stop: int) -> Rows:
        """Return the perturbed rows ``start`` to ``stop`` - 1; beside slots they depend on (seed, id, row) alone."""

    def evidence(self, predictions: tuple[Prediction, ...], answers: Answers) -> SampleEvidence:
        """Compute the evidence in the answers to the first rows, for the head of each prediction."""


class Instrument(Protocol):
    """A way from perturbed rows to verdicts. A verdict depends on its sample's rows alone."""

    def cuts(self, prepared: Prepared) -> tuple[SoftRegion, ...]:
        """Return the regions along which the graph cuts: none, one, or one for the region and one for the rest."""

    def begin(self, prepared: Prepared, slot: int, cuts: tuple[SoftRegion, ...]) -> PerturbedSample:
        """Begin with a sample whose image is in ``slot``, with the first of `cuts`, and beside it with the second."""
