"""Oxford-IIIT Pets: trimaps with an ignored border, breeds from file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from layout_files import picture
from PIL import Image

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.oxford_pets import TRIMAPS, read_oxford_pets
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest


def test_the_pet_is_the_region_and_the_border_of_neither_side(tmp_path: Path) -> None:
    trimap = np.full((30, 40), 2, np.uint8)
    trimap[4:20, 4:20], trimap[8:16, 8:16] = 3, 1
    lists = {"trainval": ("Abyssinian_1", "english_setter_22"), "test": ("Abyssinian_3", "saint_bernard_4")}
    (tmp_path / "annotations" / "trimaps").mkdir(parents=True)
    for split, names in lists.items():
        lines = ["#Image CLASS-ID SPECIES BREED ID", *(f"{name} 1 1 1" for name in names)]
        (tmp_path / "annotations" / f"{split}.txt").write_text("\n".join(lines))
        for name in names:
            picture(tmp_path / "images" / f"{name}.jpg")
            Image.fromarray(trimap).save(tmp_path / "annotations" / "trimaps" / f"{name}.png")
    (tmp_path / "annotations" / "trimaps" / "saint_bernard_4.png").unlink()
    report = write_layout(read_oxford_pets(tmp_path), tmp_path, tmp_path / "m.csv", TRIMAPS)
    assert report.classes == {"Abyssinian": 2, "english setter": 1}
    assert report.splits == {"test": 1, "trainval": 2}
    assert list(report.left_out) == ["have no annotation"]
    for sample in read_manifest(tmp_path / "m.csv").samples:
        found = load_mask(sample.mask or "", values=sample.values)
        np.testing.assert_array_equal(found.object, trimap == 1)
        np.testing.assert_array_equal(found.ignored, trimap == 3)
