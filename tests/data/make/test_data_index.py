"""Folders of images become manifests that read back, or a refusal that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from rate.data.images.prepare import load_mask
from rate.data.make.index import index_folder
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), 255).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    touch(tmp_path, "images/dog/b.jpg", "images/dog/a.PNG", 'images/cat/a, "b".jpg', "images/cat/ü.webp")
    touch(tmp_path, "masks/dog/a.png", "masks/dog/b.png", 'masks/cat/a, "b".png', "masks/cat/ü.png")
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_folder_becomes_a_manifest_that_reads_back(root, suffix):
    out = root / f"m.{suffix}"
    report = index_folder(root / "images", out, masks=root / "masks")
    assert (report.rows, report.classes, report.splits) == (4, {"cat": 2, "dog": 2}, {})
    assert report.notices() == ()
    samples = read_manifest(out).samples
    assert [sample.id for sample in samples] == [
        'images/cat/a, "b".jpg',
        "images/cat/ü.webp",
        "images/dog/a.PNG",
        "images/dog/b.jpg",
    ]
    assert [sample.label for sample in samples] == ["cat", "cat", "dog", "dog"]
    assert all(Path(sample.image).is_file() and load_mask(sample.mask or "").object.all() for sample in samples)
    assert [path.name for path in root.iterdir() if path.is_file()] == [out.name]


def test_twice_the_same_bytes(root):
    contents = []
    for _ in range(2):
        index_folder(root / "images", root / "m.csv", masks=root / "masks")
        contents.append((root / "m.csv").read_bytes())
    assert contents[0] == contents[1]


def test_relative_paths(root, monkeypatch):
    monkeypatch.chdir(root)
    index_folder(Path("images"), Path("m.csv"), masks=Path("masks"))
    assert len(read_manifest(Path("m.csv")).samples) == 4
    monkeypatch.chdir(root / "masks")
    index_folder(Path("../images"), Path("../m.jsonl"), masks=Path())
    assert read_manifest(root / "m.jsonl").samples == read_manifest(root / "m.csv").samples


def test_splits(tmp_path):
    touch(tmp_path, "d/images/train/dog/a.jpg", "d/images/test/dog/a.jpg", "d/images/test/cat/a.jpg")
    touch(tmp_path, "d/masks/train/dog/a.png", "d/masks/test/dog/a.png", "d/masks/test/cat/a.png")
    out = tmp_path / "m.csv"
    report = index_folder(tmp_path / "d/images", out, masks=tmp_path / "d/masks", splits=True)
    assert (report.splits, report.classes) == ({"test": 2, "train": 1}, {"cat": 1, "dog": 2})
    assert [sample.id for sample in read_manifest(out, split="train").samples] == ["d/images/train/dog/a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "mask"), [("{stem}_mask.png", "a_mask.png"), ("{name}.png", "a.jpg.png"), ("m/{stem}.gif", "m/a.gif")]
)
def test_patterns(tmp_path, pattern, mask):
    touch(tmp_path, "images/dog/a.jpg", f"masks/dog/{mask}")
    index_folder(tmp_path / "images", tmp_path / "m.csv", masks=tmp_path / "masks", mask_pattern=pattern)
    assert read_manifest(tmp_path / "m.csv").samples[0].mask == str(tmp_path / "masks/dog" / mask)


def test_a_stem_with_braces_is_only_a_name(tmp_path):
    touch(tmp_path, "images/dog/{name}.jpg", "masks/dog/{name}.png")
    assert index_folder(tmp_path / "images", tmp_path / "m.csv", masks=tmp_path / "masks").rows == 1


def test_masks_below_their_images(tmp_path):
    touch(tmp_path, "images/dog/a.jpg", "images/dog/b.jpg", "images/masks/dog/a.png", "images/masks/dog/b.png")
    report = index_folder(tmp_path / "images", tmp_path / "m.csv", masks=tmp_path / "images/masks")
    assert (report.rows, report.classes, report.notices()) == (2, {"dog": 2}, ())


def test_masks_beside_their_images(tmp_path):
    images = tmp_path / "images"
    touch(images, "dog/a.jpg", "dog/a_mask.png", "dog/b.jpg", "dog/c_mask.png")
    report = index_folder(images, tmp_path / "m.csv", masks=images, mask_pattern="{stem}_mask.png")
    assert [sample.id for sample in read_manifest(tmp_path / "m.csv").samples] == ["images/dog/a.jpg"]
    assert report.without_mask == ("images/dog/b.jpg", "images/dog/c_mask.png")
    (tmp_path / "m.csv").unlink()
    assert "none of the 4 images" in refusal(images, tmp_path / "m.csv", masks=images, mask_pattern="{name}")


def test_links_inside_the_folder_are_followed_but_not_in_circles(root):
    (root / "images/puppy").symlink_to("dog", target_is_directory=True)
    (root / "images/dog/round").symlink_to("..", target_is_directory=True)
    (root / "masks/puppy").symlink_to("dog", target_is_directory=True)
    report = index_folder(root / "images", root / "m.csv", masks=root / "masks")
    assert report.classes == {"cat": 2, "dog": 2, "puppy": 2}
    assert report.misplaced == ()
    assert len(read_manifest(root / "m.csv").samples) == 6


def test_what_is_left_out_is_counted_and_named(root):
    touch(root, *[f"images/dog/x{i:02d}.jpg" for i in range(12)], "masks/dog/z.png", "images/stray.jpg")
    touch(root, "images/dog/.hidden.jpg", "images/.git/dog/a.jpg")
    (root / "images/dog/notes.txt").write_text("no image")
    report = index_folder(root / "images", root / "m.csv", masks=root / "masks")
    assert report.rows == 4
    assert len(report.without_mask) == 12
    assert report.without_image == ("masks/dog/z.png",)
    assert report.misplaced == ("images/stray.jpg",)
    first, second, third = report.notices()
    assert first.startswith("12 images without a mask were left out: images/dog/x00.jpg, ")
    assert first.endswith("images/dog/x09.jpg and 2 more")
    assert second == "1 masks belong to no image: masks/dog/z.png"
    assert third == "1 images at another depth were left out: images/stray.jpg"


# ---------------------------------------------------------------------------------------------------------- refused


def refusal(*arguments: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        index_folder(*arguments, **options)
    assert not arguments[1].exists()
    return str(caught.value)


def test_without_masks_there_is_no_manifest(root):
    message = refusal(root / "images", root / "m.csv")
    assert "the 4 images in" in message
    assert "have no region" in message
    assert "dog/a.PNG" in message
    assert "pass --masks DIR" in message


def test_no_mask_fits(root):
    message = refusal(root / "images", root / "m.csv", masks=root / "masks", mask_pattern="{stem}_m.png")
    assert "none of the 4 images" in message
    assert str(root / 'masks/cat/a, "b"_m.png') in message
    assert "--mask-pattern" in message


def test_no_images(root):
    (root / "empty").mkdir()
    assert "no image found at" in refusal(root / "empty", root / "m.csv", masks=root / "masks")
    assert "is not a folder" in refusal(root / "none", root / "m.csv", masks=root / "masks")
    assert "is not a folder" in refusal(root / "images", root / "m.csv", masks=root / "none")


def test_forgotten_splits(tmp_path):
    touch(tmp_path, "images/train/dog/a.jpg", "masks/train/dog/a.png")
    message = refusal(tmp_path / "images", tmp_path / "m.csv", masks=tmp_path / "masks")
    assert "one level deeper: pass --splits" in message


def test_the_manifest_must_lie_above(root):
    (root / "elsewhere").mkdir()
    message = refusal(root / "images", root / "elsewhere" / "m.csv", masks=root / "masks")
    assert f"does not lie below {root / 'elsewhere'}" in message
    assert f"--out {root / 'm.csv'}" in message
    assert "does not lie below" in refusal(root / "images", root / "images" / "m.csv", masks=root / "masks")


def test_links_out_of_the_folder(root):
    outside = root.parent / f"{root.name}-outside"
    touch(outside, "dog/a.jpg")
    (root / "linked").symlink_to(outside, target_is_directory=True)
    assert "does not lie below" in refusal(root / "linked", root / "m.csv", masks=root / "masks")
    (root / "images/dog/a.PNG").unlink()
    (root / "images/dog/a.jpg").symlink_to(outside / "dog/a.jpg")
    assert "symbolic link out of" in refusal(root / "images", root / "m.csv", masks=root / "masks")


def test_names_that_are_no_text(root):
    name = os.fsdecode(b"\xff\xfe.jpg")
    touch(root, "images/dog/x.jpg", "masks/dog/x.png")
    (root / "images/dog/x.jpg").rename(root / "images/dog" / name)
    (root / "masks/dog/x.png").rename(root / "masks/dog" / name.replace("jpg", "png"))
    for suffix in ("csv", "jsonl", "parquet"):
        assert "cannot be written" in refusal(root / "images", root / f"m.{suffix}", masks=root / "masks")
    assert [path.name for path in root.iterdir() if path.is_file()] == []


def test_unknown_suffix(root):
    assert "a manifest ends in .csv" in refusal(root / "images", root / "m.xlsx", masks=root / "masks")


@pytest.mark.parametrize(
    "pattern", ["mask.png", "{stem", "{stem.__class__}.png", "{0}.png", "{}{stem}", "../{stem}.png"]
)
def test_patterns_that_are_none(root, pattern):
    with pytest.raises(ConfigError, match="a mask pattern"):
        index_folder(root / "images", root / "m.csv", masks=root / "masks", mask_pattern=pattern)
