"""The bank of pictures is a function of seed and ids."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rate.data.bank import SPARE, Bank, BankDraw, folder_bank
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.errors import DataError, SampleError
from rate.types import Picture, Prepared, Sample

BLANK = Picture.of_colour(np.zeros(3, np.float32), 1)


def decode(sample: Sample) -> Prepared:
    if "broken" in sample.image:
        raise SampleError(f"{sample.image} is broken")
    return Prepared(replace(sample, content=sample.id.encode()[:8]), BLANK, np.zeros((1, 1), np.bool_))


def samples(count: int, classes: int = 4) -> list[Sample]:
    return [Sample(f"s{k}", f"class {k % classes}", f"{k}.png", boxes=()) for k in range(count)]


def drawn(offered: list[Sample], size: int, seed: int = 0) -> Bank:
    draw = BankDraw(size, seed)
    for sample in offered:
        draw.add(sample)
    return draw.bank(decode)


def test_the_order_of_the_set_does_not_matter() -> None:
    offered = samples(500)
    shuffled = random.Random(1).sample(offered, len(offered))
    first, second = drawn(offered, 32), drawn(shuffled, 32)
    assert first == second
    assert len(first) == 32
    assert first.digest == second.digest != drawn(offered, 32, seed=1).digest


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_takes_the_smallest_digests_that_the_limit_of_a_class_allows(seed: int) -> None:
    rng = random.Random(seed)
    offered = [replace(one, label="much" if rng.random() < 0.9 else "little") for one in samples(300)]
    everything = BankDraw(10_000, seed)
    for sample in offered:
        everything.add(sample)
    expected, much = [], 0
    for sample in everything.bank(decode).pictures:
        if sample.label == "much" and much == 10:
            continue
        much += sample.label == "much"
        expected.append(sample.id)
    assert [picture.id for picture in drawn(offered, 20, seed).pictures] == expected[:20]
    assert drawn(offered, 20, seed).fewest == 10


def test_a_sample_meets_neither_itself_nor_its_class_and_has_an_order_of_its_own() -> None:
    offered = samples(40)
    bank = drawn(offered, 24)
    for sample in offered:
        order = bank.order(sample)
        assert len(set(order.tolist())) == len(order) >= bank.fewest
        assert all(bank.pictures[k].label != sample.label for k in order)
        assert (order == bank.order(replace(sample, image="moved.png"))).all()
    orders = [bank.order(replace(one, label="class 0")).tolist() for one in offered[:10]]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_a_picture_that_cannot_be_read_is_replaced_by_the_next() -> None:
    offered = samples(100)
    whole = drawn(offered, 16)
    lost = whole.pictures[3].id
    mended = drawn([replace(one, image="broken") if one.id == lost else one for one in offered], 16)
    assert len(mended) == 16
    assert [one.id for one in mended.pictures[:15]] == [one.id for one in whole.pictures if one.id != lost]
    assert lost in mended.skipped[0]


def test_changed_content_is_another_bank() -> None:
    bank = drawn(samples(20), 8)
    changed = replace(bank, pictures=(replace(bank.pictures[0], content=b"other"), *bank.pictures[1:]))
    assert changed.digest != bank.digest


def test_a_draw_holds_no_more_than_it_may_need() -> None:
    draw = BankDraw(8, 0)
    for sample in samples(5000, classes=1000):
        draw.add(sample)
    assert len(draw._kept) == 8 + SPARE


def test_a_folder_of_pictures_is_a_bank_without_classes(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("a.png", "more/b.jpg", "c.txt"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, format="PNG")
    geometry = Geometry(size=8, resize=8, crop="center", mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    bank = folder_bank(tmp_path, 8, 0, lambda sample: prepare(sample, geometry))
    assert sorted(picture.id for picture in bank.pictures) == ["a.png", "more/b.jpg"]
    assert len(bank.order(Sample("a", "x", "a.png", boxes=()))) == 2


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="--fill"):
            folder_bank(folder, 8, 0, decode)


def test_a_share_of_the_samples_borrows_the_region_of_a_picture_that_is_not_itself() -> None:
    offered = samples(2000)
    bank = drawn(offered, 32)
    found = {share: {one.id: bank.partner(one, share) for one in offered} for share in (0.0, 0.1, 0.5, 1.0)}
    chosen = {share: {name for name, partner in one.items() if partner is not None} for share, one in found.items()}
    assert len(chosen[0.0]) == 0
    assert 150 < len(chosen[0.1]) < 250
    assert chosen[0.1] < chosen[0.5] < chosen[1.0] == {one.id for one in offered}
    assert all(found[1.0][name] == partner for name, partner in found[0.1].items() if partner is not None)
    assert set(found[1.0].values()) == set(range(32)), "every picture lends its region"
    assert all(bank.pictures[partner].id != name for name, partner in found[1.0].items())
    other = drawn(offered, 32, seed=1)
    assert {one.id for one in offered if other.partner(one, 0.1) is not None} != chosen[0.1]
