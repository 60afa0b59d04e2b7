"""The samples of the gallery: picture, evidence, outlined region, and measured values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rate.report.heads import HeadRun
from rate.report.html.encode import heat_uri, picture_uri
from rate.report.html.outline import border, reduced
from rate.report.html.pictures import Pictures, View
from rate.report.html.selection import GROUPS, ShownSample, select
from rate.runs.run_document import Rule
from rate.types import Json


@dataclass(frozen=True, slots=True)
class Card:
    """One sample under one head, ready to be drawn."""

    head: int
    quadrant: str
    row: Json
    threshold: float | None  # least valid relevance mass
    mass: float | None  # of the run's evidence
    picture: int | None  # index among the pictures of the page
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
    cards = []
    chosen = select(heads, most) if most else []
    pictures.look_for(shown.id for shown in chosen)
    for shown in chosen:
        head = heads[shown.head]
        view = pictures.view(head, shown.id)
        if view is not None and (key := pictures.key(head, shown.id)) not in numbers:
            numbers[key] = len(uris)
            uris.append(picture_uri(view.picture))
        number = None if view is None else numbers[pictures.key(head, shown.id)]
        cards.append(_card(shown, head, view, number))
    return Gallery(tuple(cards), tuple(uris), _totals(heads))


def _card(shown: ShownSample, head: HeadRun, view: View | None, picture: int | None) -> Card:
    region = shown.coarse_region if view is None else reduced(view.region)
    rule = head.summary.rule
    return Card(
        head=shown.head,
        quadrant=shown.quadrant,
        row=shown.row,
        threshold=_threshold(shown.row, rule),
        mass=shown.row[rule.column],
        picture=picture,
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
