"""What a small file may cost: passes over its pixels, and memory over all threads together."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rate.data.images.prepare import SCANS, load_image
from rate.data.storage.limits import DECODERS, PixelBudget
from rate.errors import SampleError


def progressive(side: int, scans: int) -> bytes:
    """A grey JPEG whose last scan comes again and again."""
    stream = io.BytesIO()
    Image.new("L", (side, side), 90).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]


def test_a_jpeg_of_many_scans_is_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(progressive(8000, 60))
    began = time.monotonic()
    with pytest.raises(SampleError, match=rf"a\.jpg.*60 scans of 8000 x 8000 pixels.*{SCANS}.*anew"):
        load_image(str(path))
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(("side", "scans"), [(400, 60), (3000, SCANS)])
def test_as_many_scans_as_encoders_write_are_decoded(tmp_path: Path, side: int, scans: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(progressive(side, scans))
    assert load_image(str(path)).size == (side, side)


def test_scans_are_those_of_the_image_and_not_of_its_other_segments(tmp_path: Path) -> None:
    data = progressive(8000, 10)
    segment = b"\xff\xe1" + (2 + 4000).to_bytes(2, "big") + b"\xff\xda" * 2000
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    assert load_image(str(tmp_path / "a.jpg")).size == (8000, 8000)


def test_threads_never_decode_more_than_the_budget_together() -> None:
    budget, lock = PixelBudget(), threading.Lock()
    now, most = 0, 0
    sizes = np.random.default_rng(0).integers(1, 60, 200).tolist()

    def work(own: list[int]) -> None:
        nonlocal now, most
        for size in own:
            with budget.taken(size, 100):
                with lock:
                    now += size
                    most = max(most, now)
                time.sleep(0.0002)
                with lock:
                    now -= size

    threads = [threading.Thread(target=work, args=(sizes[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert 60 < most <= 100


def test_an_image_beyond_the_budget_goes_alone_and_an_error_gives_back_what_it_took() -> None:
    budget = PixelBudget()
    with pytest.raises(ValueError, match="broken"), budget.taken(500, 100):
        raise ValueError("broken")
    with budget.taken(100, 100):
        pass


def test_many_threads_that_read_do_not_all_decode_at_once() -> None:
    budget, lock, now, most = PixelBudget(), threading.Lock(), 0, 0

    def work() -> None:
        nonlocal now, most
        with budget.taken(1, 100):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.01)
            with lock:
                now -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == DECODERS


PEAK = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.types import Sample
geometry = Geometry(size=32, resize=32, mean=(0.5,) * 3, std=(0.25,) * 3)
sample = Sample("a", "x", sys.argv[1], boxes=((0, 0, 9, 9),))
with ThreadPoolExecutor(int(sys.argv[2])) as pool:
    list(pool.map(lambda _: prepare(sample, geometry), range(4)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_four_threads_take_the_memory_of_one_for_images_at_the_limit(tmp_path: Path) -> None:
    Image.new("P", (6000, 6000)).save(tmp_path / "a.png")

    def peak(threads: int) -> int:
        command = [sys.executable, "-c", PEAK, str(tmp_path / "a.png"), str(threads)]
        environment = {**os.environ, "RATE_MAX_PIXELS": "36000000"}
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    assert peak(4) < peak(1) + 100
