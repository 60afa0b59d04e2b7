"""The explanation of one image as a document, a text and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from rate.config import Measurement
from rate.engine.verdicts.verdict import MapResult, SwapResult, Verdict
from rate.errors import ConfigError
from rate.kernels.region import cuts_of_swaps
from rate.outputs import is_stream, write_output
from rate.records import AtLeastOne, Document, Record, Share, record
from rate.report.heatmap import GAP, beneath, picture, swap_sheet
from rate.types import Prepared, UInt8

_FORMS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

SWAPS_SHOWN = 4
"""The number of other pictures whose swaps are drawn."""

_SIDE = 448
"""The side of image and map in a picture, pixels."""


class SwapFigures(Record, frozen=True):
    """What swaps of the region and the rest say, over all other pictures that the image met."""

    share: Share | None  # of the region in the score; null where neither Shapley value is positive
    share_se: float | None
    phi_region: float
    phi_region_se: float | None
    phi_rest: float
    phi_rest_se: float | None
    kept_alone: Share | None  # share of the pictures around the region on which the prediction stays
    kept_without: Share | None  # share of the pictures in the region with which the prediction stays
    fills: AtLeastOne


class MapFigures(Record, frozen=True):
    """What the map says of the region."""

    rma: dict[str, Share | None]  # evidence kind -> relevance mass; null without evidence
    rma_se: float | None
    ceiling: Share
    floor: Share
    localization: float | None


class ExplanationDocument(Document, frozen=True, kw_only=True, tag="rate.explanation/2"):
    """The document of `rate explain --json`; without a region there is no verdict."""

    verdict: Literal["swap", "map"]  # what decides
    prediction: str
    probability: Share
    explained: str  # class whose score is explained
    effect: float | None  # score on the image minus score on what hides it; null: it is not finite
    valid: bool | None  # null: undefined
    undefined_reason: str | None
    swap: SwapFigures | None  # null: a map decides
    map: MapFigures  # where swaps decide, it is a picture alone
    forwards: AtLeastOne  # of verdict and map
    picture: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A verdict with the map and the pixels to which it refers. `str` says it in words, notebooks show its picture."""

    verdict: Verdict  # by swaps, if there were other pictures
    drawn: Verdict  # of the map; the same one, if the map decides
    prepared: Prepared
    measurement: Measurement
    others: tuple[UInt8, ...] = ()  # [h,w,3] the first `SWAPS_SHOWN` pictures that the image met

    @property
    def map(self) -> MapResult:
        """The map."""
        return self.drawn.saliency

    @property
    def forwards(self) -> int:
        """The rows behind verdict and map."""
        return self.drawn.forwards + (self.verdict.forwards if self.verdict.swap else 0)

    def write(self, out: Path) -> None:
        """Write its picture, in the form that the name asks for; see `picture_form`."""
        form, drawn = picture_form(out), self.picture()
        write_output(out, lambda file: drawn.save(file, form))

    def picture(self) -> Image.Image:
        """Draw the image, its map beside it and, if swaps decided, some of them below both."""
        drawn = picture(self.prepared.picture.view, self.map.evidence, self.prepared.region, _SIDE)
        if not self.others:
            return drawn
        shown, edge = self.prepared, (self.measurement.margin, self.measurement.ramp)
        cuts = cuts_of_swaps(shown.region, shown.ignored, shown.sample.boxes is not None, *edge)
        width = (2 * _SIDE + GAP) // SWAPS_SHOWN - GAP
        return beneath(drawn, swap_sheet(shown.picture.view, self.others, cuts, width))

    def document(self, picture: Path | None = None) -> ExplanationDocument:
        """Return its figures, with the file of its picture."""
        verdict, prediction = self.verdict, self.verdict.prediction
        assert prediction.probability is not None, "the model gave it"
        return ExplanationDocument(
            verdict="map" if verdict.swap is None else "swap",
            prediction=prediction.name,
            probability=prediction.probability,
            explained=prediction.explained,
            effect=prediction.effect,
            valid=verdict.valid,
            undefined_reason=verdict.reason,
            swap=None if verdict.swap is None else record(SwapFigures, verdict.swap),
            map=MapFigures(
                rma=self.map.mass,
                rma_se=self.map.standard_error,
                ceiling=self.map.bounds.ceiling,
                floor=self.map.bounds.floor,
                localization=self.map.localization,
            ),
            forwards=self.forwards,
            picture=None if picture is None else str(picture),
        )

    def __str__(self) -> str:
        """Say prediction, explained class and, if there is a region, what the prediction rests on; a line each."""
        prediction, swap = self.verdict.prediction, self.verdict.swap
        effect = "undefined" if prediction.effect is None else f"{prediction.effect:+.3f}"
        lines = [
            f"prediction    {prediction.name} (probability {prediction.probability:.3f})",
            f"explained     {prediction.explained}, effect of the image on its score {effect}",
        ]
        if self.verdict.sample.boxes != ():
            lines.append(f"evidence      {self._judgement()}")
        if swap is not None and swap.kept_alone is not None and swap.kept_without is not None:
            alone, without = (f"{100 * share:.0f} %" for share in (swap.kept_alone, swap.kept_without))
            lines.append(
                f"swaps         the prediction stays in {alone} with the region alone, in {without} without it"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def _judgement(self) -> str:
        if self.verdict.reason is not None:
            return f"no verdict: {self.verdict.reason}"
        swap = self.verdict.swap
        said = _of_map(self.map) if swap is None else _of_swaps(swap)
        return f"{'valid' if self.verdict.valid else 'not valid'}: {said}"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.picture().save(buffer, "PNG")
        return buffer.getvalue()


def picture_form(out: Path) -> str:
    """Return Pillow's name of the form of the picture ``out``.

    Raises:
        ConfigError: its name has another ending.
    """
    form = _FORMS.get(out.suffix.lower()) or ("PNG" if is_stream(out) else None)
    if form is None:
        raise ConfigError(f"--out must end in {', '.join(_FORMS)}, got {str(out)!r}")
    return form


def _of_swaps(swap: SwapResult) -> str:
    assert swap.share is not None, "a verdict has a share"
    spread = "" if swap.share_se is None else f" ± {swap.share_se:.3f}"
    return (
        f"share of the region {swap.share:.3f}{spread}, by swaps with {swap.fills} other pictures (Shapley values: "
        f"region {swap.phi_region:+.3f}, rest {swap.phi_rest:+.3f})"
    )


def _of_map(result: MapResult) -> str:
    return (
        f"relevance mass {result.mass['positive']:.3f} inside the region ({result.bounds.floor:.3f} if all evidence "
        f"were outside, {result.bounds.ceiling:.3f} if all were inside), localization {result.localization:.3f}"
    )
