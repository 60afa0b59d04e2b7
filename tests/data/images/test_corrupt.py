"""A corruption is a function of the image, the sample's id, the seed, the type and the severity alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from rate.data.images.corrupt import EXTRA, TYPES, Corruption, corrupted, parse_corruption
from rate.errors import ConfigError, SampleError

CHANCE = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "elastic_transform",
)
"""The types that draw anything."""


def scene() -> Image.Image:
    """96 x 96 pixels with structure at every scale, none of it at the ends of the range."""
    y, x = np.mgrid[0:96, 0:96]
    noise = np.random.default_rng(3).normal(0, 25, (96, 96, 3))
    return Image.fromarray((120 + 60 * np.sin(x / 7 + y / 19)[..., None] + noise).clip(20, 235).astype(np.uint8))


def digest(corruption: Corruption, key: str = "a/b.jpg") -> str:
    return hashlib.sha256(corrupted(scene(), corruption, key).tobytes()).hexdigest()


ALL = [Corruption(name, 1 + number % 5, seed=number) for number, name in enumerate(TYPES)]
"""Fifteen types, every severity three times."""

CHILD = """
import json, sys
sys.path.insert(0, {tests!r})
from test_corrupt import ALL, digest
print(json.dumps([[str(one), digest(one)] for one in reversed(ALL)]))
"""


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    return {str(one): digest(one) for one in ALL}


def test_in_any_order_after_anything(expected):
    np.random.seed(5)
    for one in reversed(ALL):
        np.random.random(3)
        assert digest(one) == expected[str(one)], one


def test_in_threads_at_once(expected):
    gate = threading.Barrier(5)

    def work(one: Corruption) -> str:
        gate.wait()
        return digest(one)

    with ThreadPoolExecutor(5) as pool:
        assert dict(zip(map(str, ALL), pool.map(work, ALL), strict=True)) == expected


@pytest.mark.slow
def test_in_another_process(expected):
    code = CHILD.format(tests=str(__file__).rpartition("/")[0])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert dict(json.loads(done.stdout)) == expected


@pytest.mark.parametrize("name", TYPES)
def test_id_and_seed_change_what_is_chance_and_nothing_else(name):
    found = {digest(Corruption(name, 3, seed), key) for seed, key in ((0, "a"), (0, "b"), (1, "a"), (10, "a"))}
    assert len(found) == (4 if name in CHANCE else 1)


@pytest.mark.parametrize("name", TYPES)
def test_the_image_is_changed_and_keeps_its_form(name):
    image = scene()
    before = image.tobytes()
    results = [corrupted(image, Corruption(name, severity), "a") for severity in (1, 5)]
    assert {(result.mode, result.size) for result in results} == {("RGB", (96, 96))}
    assert len({before, *(result.tobytes() for result in results)}) == 3
    assert image.tobytes() == before


def test_numpys_generator_goes_on_as_if_nothing_had_been():
    np.random.seed(11)
    undisturbed = np.random.random(4)
    np.random.seed(11)
    first = np.random.random(2)
    corrupted(scene(), Corruption("fog", 2), "a")
    np.testing.assert_array_equal(np.concatenate([first, np.random.random(2)]), undisturbed)


def test_grey_and_alpha_become_rgb():
    for mode in ("L", "RGBA"):
        assert corrupted(scene().convert(mode), Corruption("contrast", 1), "a").mode == "RGB"


def test_an_image_too_small_is_one_samples_error():
    with pytest.raises(SampleError, match=r"x\.jpg: is 31 x 96 pixels, corruptions need 32 on a side"):
        corrupted(scene().crop((0, 0, 31, 96)), Corruption("fog", 1), "x.jpg")


# ------------------------------------------------------------------------------------------------------------ parsing


def test_one_five_fifteen_and_seventy_five():
    assert parse_corruption("fog:3", seed=7) == (Corruption("fog", 3, 7),)
    assert [str(one) for one in parse_corruption("snow")] == [f"snow:{severity}" for severity in range(1, 6)]
    assert [one.type for one in parse_corruption("all:2")] == list(TYPES)
    assert {one.severity for one in parse_corruption("all:2")} == {2}
    assert len(set(parse_corruption("all"))) == 75


@pytest.mark.parametrize(
    "text", ["", "fog:", "fog:0", "fog:6", "fog:3:1", "fog:x", "fog:+3", "mist:3", "Fog:3", EXTRA[0]]
)
def test_what_is_no_corruption(text):
    with pytest.raises(ConfigError, match=r"fog|1 to 5"):
        parse_corruption(text)


def test_every_type_is_one_and_others_are_refused():
    assert len({*TYPES, *EXTRA}) == 19
    with pytest.raises(ConfigError, match="'mist' is no corruption"):
        Corruption("mist", 1)
    with pytest.raises(ConfigError, match="must be 1 to 5, got 6"):
        Corruption("fog", 6)
