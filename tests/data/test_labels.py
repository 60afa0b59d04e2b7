"""Labels that no class has are named with what was probably meant."""

from __future__ import annotations

import pytest

from rate.data.labels import suggestion, unknown_labels, with_suggestions

CLASSES = ("Faces", "great white shark", "tench", "Tench")


@pytest.mark.parametrize(
    ("label", "meant"),
    [("faces", "Faces"), ("Great_White-shark", "great white shark"), ("tenhc", "tench"), ("FACE", "Faces")],
)
def test_another_case_other_separators_and_slips_are_recognised(label: str, meant: str) -> None:
    assert f"{meant!r}" in suggestion(label, CLASSES)


def test_nothing_is_suggested_where_nothing_is_alike() -> None:
    assert suggestion("n01440764", CLASSES) == ""


def test_all_unknown_labels_are_counted_and_the_first_are_named() -> None:
    labels = {f"unlike {k}" for k in range(9)} | {"tench"}
    unknown = unknown_labels(labels, CLASSES)
    assert len(unknown) == 9
    text = with_suggestions(unknown, CLASSES)
    assert "'unlike 0'" in text
    assert "4 more" in text
