"""A sample under one head, ready to be drawn: its picture, evidence, outlined region and swaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from rate.kernels.region import cuts_of_swaps
from rate.report.heads import HeadRun
from rate.report.heatmap import swap_sheet
from rate.report.html.samples.encode import heat_uri, picture_uri, sheet_uri
from rate.report.html.samples.outline import border, reduced
from rate.report.html.samples.pictures import Pictures, View
from rate.report.html.samples.selection import ShownSample
from rate.runs.run_document import Rule
from rate.types import Json

SWAPS_SHOWN, SWAP_SIDE = 3, 96
"""The number of other pictures whose swaps a card shows, and the side of a swap, pixels."""


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


class CardMaker:
    """Makes cards; a picture that several of them show is stored once."""

    def __init__(self, heads: Sequence[HeadRun], pictures: Pictures) -> None:
        """Take the heads of the report, in its order, and the source of images and regions."""
        self._heads, self._pictures = heads, pictures
        self._numbers: dict[object, int] = {}
        self.uris: list[str] = []  # of the pictures of all cards

    def card(self, shown: ShownSample) -> Card:
        """Decode and encode the pictures of a sample."""
        head = self._heads[shown.head]
        view, key = self._pictures.view(head, shown.id), self._pictures.key(head, shown.id)
        picture, swaps = None, None
        if view is not None:
            picture = self._number(key, partial(picture_uri, view.picture))
            if (drawn := self._swaps(head, shown, view)) is not None:
                sheet, others = drawn
                number = self._number((key, head.run.identity.bank, others), partial(sheet_uri, sheet))
                swaps = Sheet(number, sheet.width, sheet.height, others)
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

    def _number(self, key: object, uri: Callable[[], str]) -> int:
        """Return the index of a picture that cards share."""
        if key not in self._numbers:
            self._numbers[key] = len(self.uris)
            self.uris.append(uri())
        return self._numbers[key]

    def _swaps(self, head: HeadRun, shown: ShownSample, view: View) -> tuple[Image.Image, int] | None:
        """Draw some of the swaps of a sample; return them with their number, or None if there are none to show."""
        rule, met = head.run.rule, shown.row["fills"] or 0
        margin, ramp = (one if one is not None and 0 <= one <= 0.5 else None for one in (rule.margin, rule.ramp))
        if rule.verdict != "swap" or margin is None or ramp is None:
            return None
        others = self._pictures.met(head, shown.id, min(met, SWAPS_SHOWN))
        cuts = cuts_of_swaps(view.region, view.ignored, view.boxed, margin, ramp)
        return (swap_sheet(np.asarray(view.picture), others, cuts, SWAP_SIDE), len(others)) if others else None


def _threshold(row: Json, rule: Rule) -> float | None:
    if rule.valid != "midpoint":
        return rule.tau
    if row["floor"] is None or row["ceiling"] is None:
        return None
    return float(row["floor"] + rule.tau * (row["ceiling"] - row["floor"]))
