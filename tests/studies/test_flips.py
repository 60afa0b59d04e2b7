"""What a lower precision does to verdicts, counted."""

from __future__ import annotations

from rate.studies.flips import Answer, count_flips


def test_flips_are_counted_where_f32_has_an_answer() -> None:
    same, other, no_verdict = Answer("a", True, 0.5), Answer("b", False, 0.25), Answer("a", None, None)
    found = count_flips("h", [(same, same), (other, same), (no_verdict, same), (None, same), (same, None)])
    assert (found.samples, found.predictions, found.verdicts, found.max_abs_share) == (4, 2, 3, 0.25)
    assert str(found).startswith("h: 3 of 4 verdicts and 2 predictions differ")
    assert count_flips("h", []).max_abs_share is None
