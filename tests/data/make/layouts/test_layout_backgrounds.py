"""ImageNet-9, Hard ImageNet, Waterbirds and Spawrious in the folders that their archives have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.backgrounds import read_hard_imagenet, read_imagenet9, read_spawrious, read_waterbirds
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError
from rate.types import Sample

REGION = np.zeros((30, 40), bool)
REGION[5:20, 8:30] = True


def grey(path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(REGION * np.uint8(255)).save(path, **options)


def samples(manifest: Path) -> tuple[Sample, ...]:
    found = read_manifest(manifest).samples
    for sample in found:
        differing = load_mask(sample.mask or "", values=sample.values).object ^ REGION
        assert differing.sum() <= 2, sample.id
    return found


@pytest.mark.parametrize(("variant", "prefix"), [("original", ""), ("mixed_rand", "fg_")])
def test_imagenet_9_has_its_foregrounds_in_arrays(tmp_path: Path, variant: str, prefix: str) -> None:
    for name in ("n02085936_804", "n02085936_9"):
        suffix = "_bg_n0211_7" if prefix else ""
        picture(tmp_path / variant / "val" / "02_wheeled vehicle" / f"{prefix}{name}{suffix}.JPEG", format="JPEG")
    masks = tmp_path / "fg_mask" / "val" / "02_wheeled vehicle"
    masks.mkdir(parents=True)
    np.save(masks / "n02085936_804.npy", REGION)
    report = write_layout(read_imagenet9(tmp_path, variant=variant), tmp_path, tmp_path / "m.csv")
    assert (report.classes, report.splits) == ({"wheeled vehicle": 1}, {variant: 1})
    assert list(report.left_out) == ["have no annotation"]
    assert len(samples(tmp_path / "m.csv")) == 1


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"x" * 99, np.zeros((3, 30, 40)), np.zeros((40, 30))])
def test_an_array_that_is_no_mask_leaves_its_image_out(tmp_path: Path, content: bytes | np.ndarray) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "original" / "val" / "00_dog" / f"{name}.JPEG", format="JPEG")
    masks = tmp_path / "fg_mask" / "val" / "00_dog"
    masks.mkdir(parents=True)
    np.save(masks / "a.npy", REGION)
    (masks / "b.npy").write_bytes(content) if isinstance(content, bytes) else np.save(masks / "b.npy", content)
    report = write_layout(read_imagenet9(tmp_path), tmp_path, tmp_path / "m.csv")
    assert report.rows == 1
    assert list(report.left_out) == ["have an annotation that cannot be used"]


def test_hard_imagenet_names_masks_by_synset_and_image(tmp_path: Path) -> None:
    for name in ("ILSVRC2012_val_00000293", "n02085620_7"):
        picture(tmp_path / "imagenet" / "val" / "n02085620" / f"{name}.JPEG", format="JPEG")
        grey(tmp_path / "hard" / "val" / f"n02085620_{name}.JPEG", format="JPEG", quality=95)
    grey(tmp_path / "hard" / "val" / "stranger.png")
    entries = read_hard_imagenet(tmp_path / "hard", tmp_path / "imagenet", names={"n02085620": "Chihuahua"})
    report = write_layout(entries, tmp_path, tmp_path / "m.csv")
    assert (report.classes, report.splits) == ({"Chihuahua": 2}, {"val": 2})
    assert list(report.left_out) == ["are masks without a synset in their name"]
    assert len(samples(tmp_path / "m.csv")) == 2


def test_waterbirds_take_cubs_masks_and_the_place_is_the_group(tmp_path: Path) -> None:
    name = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18"
    lines = [
        "img_id,img_filename,y,split,place,place_filename",
        f"1,{name}.jpg,1,0,1,/o/ocean/00001167.jpg",
        f"2,{name}9.jpg,0,2,1,/f/forest/1.jpg",
        "3,002.x/y.jpg,0,1,0,/b/b.jpg",
    ]
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    for stem in (name, f"{name}9"):
        picture(tmp_path / f"{stem}.jpg")
        grey(tmp_path / "segmentations" / f"{stem}.png")
    report = write_layout(read_waterbirds(tmp_path, tmp_path / "segmentations"), tmp_path, tmp_path / "m.csv")
    assert list(report.left_out) == ["have no annotation"]
    found = samples(tmp_path / "m.csv")
    assert [(sample.label, sample.group) for sample in found] == [("waterbird", "water"), ("landbird", "water")]
    for content in ("a,b\n1,2\n", "img_filename,y,split,place\nx.jpg,3,0,0\n"):
        (tmp_path / "metadata.csv").write_text(content)
        with pytest.raises(DataError, match="expected img_filename, y, split and place"):
            list(read_waterbirds(tmp_path, tmp_path / "segmentations"))


def test_spawrious_needs_masks_of_another_tool_and_the_place_is_the_group(tmp_path: Path) -> None:
    inside = Path("0", "snow", "bulldog", "snow_bulldog_0.png")
    picture(tmp_path / "spawrious224" / inside)
    picture(tmp_path / "spawrious224" / "readme.png")
    with pytest.raises(DataError, match="Spawrious has no masks"):
        list(read_spawrious(tmp_path, tmp_path / "masks"))
    grey(tmp_path / "masks" / inside)
    report = write_layout(read_spawrious(tmp_path, tmp_path / "masks"), tmp_path, tmp_path / "m.csv")
    assert list(report.left_out) == ["do not lie at ENVIRONMENT/PLACE/BREED/NAME"]
    [sample] = samples(tmp_path / "m.csv")
    assert (sample.label, sample.group) == ("bulldog", "snow")
