"""CPU milliseconds that each of ImageNet-C's corruptions takes for one image of 224 x 224 pixels.

CPU time of the process, so that neighbours on the machine do not count. Rounds go over all types and severities in
turn; the first call, in which code is compiled, is given apart. Cutting the image out and writing its PNG, which `rate
data corrupt` does besides, are timed too.

    python -m benchmarks.corruptions [--images 4] [--rounds 5]
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks import photographs, record
from rate.data.images.corrupt import CROP, SEVERITIES, TYPES, Corruption, corrupted
from rate.data.images.prepare import load_image
from rate.data.make.corrupt_set import PNG_LEVEL
from rate.data.manifest import read_manifest

LIBRARIES = ("imagecorruptions-imaug", "numba", "scikit-image", "scipy", "opencv-python")


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifest = photographs.write(Path(folder), arguments.images, 2)[0]
        images = [load_image(sample.image) for sample in read_manifest(manifest).samples[: arguments.images]]
    crops = [CROP.image_to_crop(image) for image in images]
    first = {name: milliseconds(partial(corrupted, crops[0], Corruption(name, 1), "0")) for name in TYPES}
    times: dict[str, list[float]] = {}
    for number in range(arguments.rounds):
        for crop, image in zip(crops, images, strict=True):
            times.setdefault("cut", []).append(milliseconds(partial(CROP.image_to_crop, image)))
            png = partial(crop.save, io.BytesIO(), "PNG", compress_level=PNG_LEVEL)
            times.setdefault("png", []).append(milliseconds(png))
            for name in TYPES:
                for severity in SEVERITIES:
                    work = partial(corrupted, crop, Corruption(name, severity), str(number))
                    times.setdefault(f"{name}:{severity}", []).append(milliseconds(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    record.write("corruptions", figures(arguments.images, arguments.rounds, first, medians))


def figures(images: int, rounds: int, first: dict[str, float], medians: dict[str, float]) -> dict[str, object]:
    """What is recorded; a type is the mean of its five severities."""
    by_severity = {name: [medians[f"{name}:{severity}"] for severity in SEVERITIES] for name in TYPES}
    by_type = {name: statistics.fmean(values) for name, values in by_severity.items()}
    return {
        "images": images,
        "rounds": rounds,
        "size": CROP.size,
        "libraries": {name: version(name) for name in LIBRARIES},
        "cpu_ms_per_image": {name: round(value, 2) for name, value in by_type.items()},
        "cpu_ms_per_image_by_severity": {
            name: [round(one, 2) for one in values] for name, values in by_severity.items()
        },
        "cpu_ms_mean_of_types": round(statistics.fmean(by_type.values()), 2),
        "cpu_ms_first_call": {name: round(value, 1) for name, value in first.items()},
        "cpu_ms_cut": round(medians["cut"], 2),
        "cpu_ms_png": round(medians["png"], 2),
    }


def rounded(values: list[float]) -> list[float]:
    """To hundredths."""
    return [round(value, 2) for value in values]


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


if __name__ == "__main__":
    main()
