"""The shuffled baseline of swaps: some samples are swapped a second time, along the region of another sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rate.data.bank import Bank
from rate.engine.outcome import Outcome
from rate.engine.prefetch import Prefetch
from rate.engine.verdicts.fills import Fills
from rate.engine.verdicts.verdict import Verdict
from rate.types import Prepared


class Shuffle:
    """Lets a share of the samples come twice, and joins the two outcomes of each.

    Which samples, and whose region they borrow, depends on the seed and their ids alone; see `Bank.partner`.
    """

    def __init__(self, bank: Bank, share: float, fills: Fills) -> None:
        """Take the pictures of the bank, and ``fills`` for their regions."""
        self._bank, self._share, self._fills = bank, share, fills
        self._again: Prepared | None = None  # the latest sample of the source with another's region
        self._twice: set[str] = set()  # ids of the samples of which one outcome is awaited, or both
        self._held: dict[str, Outcome] = {}

    def next(self, source: Prefetch) -> Prepared | Outcome | None:
        """Return the next sample of ``source``, or the latest one with the region of another."""
        if self._again is not None:
            again, self._again = self._again, None
            return again
        prepared = source.next()
        if isinstance(prepared, Prepared) and self._share:
            self._again = self._shuffled(prepared)
        return prepared

    def joined(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yield finished samples; one that comes twice is held back until both of its outcomes are there."""
        for outcome in outcomes:
            identifier = outcome.sample.id
            if identifier not in self._twice:
                yield outcome
            elif identifier not in self._held:
                self._held[identifier] = outcome
            else:
                self._twice.remove(identifier)
                pair = (self._held.pop(identifier), outcome)
                own, shuffled = pair if outcome.shuffled else pair[::-1]
                yield _joined(own, shuffled)

    def _shuffled(self, prepared: Prepared) -> Prepared | None:
        partner = self._bank.partner(prepared.sample, self._share)
        if partner is None:
            return None
        self._twice.add(prepared.sample.id)
        lender = self._bank.pictures[partner]
        sample = replace(prepared.sample, boxes=lender.boxes, mask=lender.mask)
        region, ignored = self._fills.regions[partner], self._fills.ignored.get(partner)
        return Prepared(sample, prepared.picture, region, ignored, shuffled=True)


def _joined(own: Outcome, shuffled: Outcome) -> Outcome:
    """Return a sample's own outcome with the verdicts along the other region, if there are some, and both costs."""
    return replace(own, verdicts=tuple(map(_beside, own.verdicts, shuffled.verdicts))) if shuffled.verdicts else own


def _beside(own: Verdict, shuffled: Verdict) -> Verdict:
    assert own.swap is not None, "maps are shuffled afterwards, from their sketches"
    swap = replace(own.swap, shuffled_valid=shuffled.valid)
    return replace(own, forwards=own.forwards + shuffled.forwards, swap=swap)
