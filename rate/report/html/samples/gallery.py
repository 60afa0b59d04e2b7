"""The samples of a page: those that two heads judge differently side by side, then some of every head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from rate.report.heads import HeadRun
from rate.report.html.samples.card import Card, CardMaker
from rate.report.html.samples.changed import select_changed
from rate.report.html.samples.pictures import Pictures
from rate.report.html.samples.selection import GROUPS, select


@dataclass(frozen=True, slots=True)
class ChangedCards:
    """A sample that two heads judge differently."""

    pair: int  # index among the pairs of the comparison
    change: str  # one of `CHANGES`
    first: Card
    second: Card


@dataclass(frozen=True, slots=True)
class Gallery:
    """All cards in order of quadrant, with their shared pictures."""

    cards: tuple[Card, ...]
    pictures: tuple[str, ...]  # data URIs
    totals: dict[str, int] = field(default_factory=dict)  # quadrant -> images of all heads, shown or not
    changed: tuple[ChangedCards, ...] = ()

    @property
    def all_cards(self) -> list[Card]:
        """The cards of both parts."""
        return [*self.cards, *(card for both in self.changed for card in (both.first, both.second))]

    @property
    def saved(self) -> bool:
        """Whether any card has a saved map; samples without one are then not shown."""
        return not all(card.coarse for card in self.cards)

    def of(self, quadrant: str) -> list[Card]:
        """Return the cards of a quadrant."""
        return [card for card in self.cards if card.quadrant == quadrant]

    def changes(self, pair: int, change: str) -> list[ChangedCards]:
        """Return the samples that two heads judge differently in one way."""
        return [both for both in self.changed if (both.pair, both.change) == (pair, change)]

    @property
    def heads(self) -> list[int]:
        """The positions of the heads that occur, in order."""
        return sorted({card.head for card in self.cards})

    @property
    def labels(self) -> list[str]:
        """The classes that occur, in order."""
        return sorted({card.row["label"] for card in self.cards})


def gallery_of(
    heads: Sequence[HeadRun], pictures: Pictures, most: int, *, compared: bool = False, among: Collection[int] = ()
) -> Gallery:
    """Choose, decode and encode the samples.

    Args:
        heads: the heads of the report, in its order.
        pictures: the source of images and regions.
        most: the largest number of samples over all heads.
        compared: whether up to half of them are samples that the first head and another one judge differently.
        among: the positions of the heads whose samples are shown one by one; all, if none is given.

    Raises:
        RunError: the saved maps of a run cannot be read.
    """
    changed = select_changed(heads, most // 4) if compared else []
    chosen = select(heads, most - 2 * len(changed), among) if most else []
    in_banks = (name for head in heads if head.run.rule.fill == "pictures" for name in head.run.bank.pictures)
    pictures.look_for([*(one.first.id for one in changed), *(one.id for one in chosen), *in_banks])
    maker = CardMaker(heads, pictures)
    pairs = [ChangedCards(one.pair, one.change, maker.card(one.first), maker.card(one.second)) for one in changed]
    cards = [maker.card(one) for one in chosen]
    return Gallery(
        tuple(cards), tuple(maker.uris), _totals([heads[k] for k in among or range(len(heads))]), tuple(pairs)
    )


def _totals(heads: Sequence[HeadRun]) -> dict[str, int]:
    totals = dict.fromkeys(GROUPS, 0)
    for head in heads:
        for quadrant in GROUPS:
            totals[quadrant] += getattr(head.summary.counts, quadrant)
    return totals
