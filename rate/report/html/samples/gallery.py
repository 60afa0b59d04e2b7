"""The samples of the gallery: picture, evidence, outlined region, and measured values."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image

from rate.kernels.region import cuts_of_swaps
from rate.report.heads import HeadRun
from rate.report.heatmap import colour, swap_sheet
from rate.report.html.samples.outline import border, reduced
from rate.report.html.samples.pictures import Pictures, View
from rate.report.html.samples.selection import GROUPS, ShownSample, select
from rate.runs.run_document import Rule
from rate.types import Float64, Json

PICTURE_BYTES = 6_500
"""The size limit of a picture, bytes; its quality is reduced until it fits."""

_TRIES = ((224, 75), (224, 50), (224, 30), (160, 40), (112, 30))
"""Pairs (side in pixels, WebP quality), best first."""

SWAPS_SHOWN, SWAP_SIDE = 3, 96
"""The number of other pictures whose swaps a card shows, and the side of a swap, pixels."""

SHEET_BYTES = 5_000
"""The size limit of the swaps of a card, bytes."""

_SHEET_TRIES = ((1.0, 60), (1.0, 40), (0.75, 40), (0.75, 25), (0.5, 25))
"""Pairs (share of the size, WebP quality), best first."""

LEVELS = 48
"""The number of colours of a map; finer steps are not visible on a picture."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Swaps of one sample as one picture; see `rate.report.heatmap`."""

    picture: int  # index among the pictures of the page
    width: int
    height: int
    others: int  # number of other pictures


@dataclass(frozen=True, slots=True)
class Card:
    """One sample under one head, ready to be drawn."""

    head: int
    quadrant: str
    row: Json
    threshold: float | None  # least valid relevance mass
    mass: float | None  # of the run's evidence
    picture: int | None  # index among the pictures of the page
    swaps: Sheet | None  # some of the swaps that decided
    heat: str | None  # data URI
    coarse: bool  # whether the row's sketch replaces an unsaved map
    side: int  # side of the outline, in its own units
    outline: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """All cards in order of quadrant, with their shared pictures."""

    cards: tuple[Card, ...]
    pictures: tuple[str, ...]  # data URIs
    totals: dict[str, int] = field(default_factory=dict)  # quadrant -> images of all heads, shown or not

    @property
    def saved(self) -> bool:
        """Whether any card has a saved map; samples without one are then not shown."""
        return not all(card.coarse for card in self.cards)

    def of(self, quadrant: str) -> list[Card]:
        """Return the cards of a quadrant."""
        return [card for card in self.cards if card.quadrant == quadrant]

    @property
    def labels(self) -> list[str]:
        """The classes that occur, in order."""
        return sorted({card.row["label"] for card in self.cards})


def gallery_of(heads: Sequence[HeadRun], pictures: Pictures, most: int) -> Gallery:
    """Choose, decode and encode the samples.

    Args:
        heads: the heads of the report, in its order.
        pictures: the source of images and regions.
        most: the largest number of samples over all heads.

    Raises:
        RunError: the saved maps of a run cannot be read.
    """
    numbers: dict[object, int] = {}
    uris: list[str] = []

    def number_of(key: object, uri: Callable[[], str]) -> int:
        """Return the number of a picture that heads share."""
        if key not in numbers:
            numbers[key] = len(uris)
            uris.append(uri())
        return numbers[key]

    cards = []
    chosen = select(heads, most) if most else []
    in_banks = (name for head in heads if head.run.rule.fill == "pictures" for name in head.run.bank.pictures)
    pictures.look_for([*(shown.id for shown in chosen), *in_banks])
    for shown in chosen:
        head = heads[shown.head]
        view, key, picture, swaps = pictures.view(head, shown.id), pictures.key(head, shown.id), None, None
        if view is not None:
            picture = number_of(key, partial(picture_uri, view.picture))
            if (drawn := _swaps(pictures, head, shown, view)) is not None:
                sheet, others = drawn
                number = number_of((key, head.folder, others), partial(sheet_uri, sheet))
                swaps = Sheet(number, sheet.width, sheet.height, others)
        cards.append(_card(shown, head, view, picture, swaps))
    return Gallery(tuple(cards), tuple(uris), _totals(heads))


def _swaps(pictures: Pictures, head: HeadRun, shown: ShownSample, view: View) -> tuple[Image.Image, int] | None:
    """Draw some of the swaps of a sample; return them with their number, or None if there are none to show."""
    rule, met = head.run.rule, shown.row["fills"] or 0
    margin, ramp = (one if one is not None and 0 <= one <= 0.5 else None for one in (rule.margin, rule.ramp))
    if rule.verdict != "swap" or margin is None or ramp is None:
        return None
    others = pictures.met(head, shown.id, min(met, SWAPS_SHOWN))
    cuts = cuts_of_swaps(view.region, view.ignored, view.boxed, margin, ramp)
    return (swap_sheet(np.asarray(view.picture), others, cuts, SWAP_SIDE), len(others)) if others else None


def _card(shown: ShownSample, head: HeadRun, view: View | None, picture: int | None, swaps: Sheet | None) -> Card:
    region = shown.coarse_region if view is None else reduced(view.region)
    rule = head.summary.rule
    return Card(
        head=shown.head,
        quadrant=shown.quadrant,
        row=shown.row,
        threshold=_threshold(shown.row, rule),
        mass=shown.row[rule.column],
        picture=picture,
        swaps=swaps,
        heat=None if shown.heat is None else heat_uri(np.minimum(shown.heat, 1.0)),
        coarse=shown.coarse,
        side=len(region),
        outline=border(region),
    )


def _threshold(row: Json, rule: Rule) -> float | None:
    if rule.valid != "midpoint":
        return rule.tau
    if row["floor"] is None or row["ceiling"] is None:
        return None
    return float(row["floor"] + rule.tau * (row["ceiling"] - row["floor"]))


def _totals(heads: Sequence[HeadRun]) -> dict[str, int]:
    totals = dict.fromkeys(GROUPS, 0)
    for head in heads:
        for quadrant in GROUPS:
            totals[quadrant] += getattr(head.summary.counts, quadrant)
    return totals


def picture_uri(picture: Image.Image) -> str:
    """Encode a square picture as WebP."""
    sides = ((min(side, picture.width), quality) for side, quality in _TRIES)
    return _webp_uri(picture, (((side, side), quality) for side, quality in sides), PICTURE_BYTES)


def sheet_uri(sheet: Image.Image) -> str:
    """Encode swaps as WebP."""
    tries = (((round(share * sheet.width), round(share * sheet.height)), quality) for share, quality in _SHEET_TRIES)
    return _webp_uri(sheet, tries, SHEET_BYTES)


def _webp_uri(picture: Image.Image, tries: Iterable[tuple[tuple[int, int], int]], limit: int) -> str:
    for size, quality in tries:
        small = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=quality, method=4)
        if buffer.tell() <= limit:
            break
    return _uri("image/webp", buffer)


def heat_uri(heat: Float64) -> str:
    """Encode a map [h,w] in [0, 1] as a PNG with colour and opacity: strong evidence covers the picture."""
    strength = np.linspace(0, 1, LEVELS)
    image = Image.fromarray((heat * (LEVELS - 1)).round().astype(np.uint8))
    image.putpalette(colour(strength[None])[0].round().astype(np.uint8).tobytes())
    opacity = (255 * (0.12 + 0.8 * strength)).round().astype(np.uint8)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, transparency=opacity.tobytes())
    return _uri("image/png", buffer)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
