"""`benchmarks.readers`: real photographs have the same regions through every reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reader_forms import photographs
from benchmarks.readers import regions, write_forms

pytest.importorskip("datasets")
pytest.importorskip("webdataset")


@pytest.mark.slow
def test_every_reader_gives_the_regions_of_the_panoptic_masks(shared_data: Path, tmp_path: Path) -> None:
    known = photographs(shared_data / "coco-regions", most=8)
    pairs = sum(len(one.regions) for one in known.values())
    forms = write_forms(shared_data / "coco-regions", tmp_path / "set", known)
    compared = {name: regions(form, known) for name, form in forms.items()}
    assert len(compared) == 17
    for name, numbers in compared.items():
        count, identical, _, nearly = numbers["regions"].values()
        of_largest = name.startswith(("parquet", "saved", "webdataset", "folder"))
        assert count == (len(known) if of_largest else pairs) or (name == "voc masks" and 0 < count < pairs)
        if name.endswith("outlines") or name == "yolo boxes":  # the set's own, which join the parts of an object
            assert nearly >= 0.8 * count
        else:
            assert identical == count, name
