"""Names of ImageNet's classes: from a file, or open_clip's."""

from __future__ import annotations

import pytest

from rate.data.make.layouts.base import SYNSET, open_clip_names, read_names, unique
from rate.errors import DataError


def test_the_form_of_locs_synset_mapping(tmp_path):
    path = tmp_path / "LOC_synset_mapping.txt"
    path.write_text("n01440764 tench, Tinca tinca\n\nn02012849 crane\nn03126707 crane\n", encoding="utf-8-sig")
    assert read_names(path) == {"n01440764": "tench", "n02012849": "crane", "n03126707": "crane (n03126707)"}


@pytest.mark.parametrize("content", ["n01440764\n", "n01440764 ,\n", "a b\na c\n", b"\xff\xff"])
def test_files_that_are_none(tmp_path, content):
    path = tmp_path / "names.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=str(path)):
        read_names(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_names(tmp_path / "gone.txt")


def test_open_clips_names_are_made_unique_in_the_order_of_the_synsets():
    names = open_clip_names()
    assert (len(names), len(set(names.values()))) == (1000, 1000)
    assert all(SYNSET.fullmatch(synset) for synset in names)
    assert list(names) == sorted(names)
    assert (names["n01440764"], names["n02012849"], names["n03126707"]) == ("tench", "crane bird", "construction crane")


def test_unique():
    assert unique([("a", "x"), ("b", "y"), ("c", "x")]) == {"a": "x", "b": "y", "c": "x (c)"}
