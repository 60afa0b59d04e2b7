"""Images/s of decoding and geometry with the region, by threads, against torchvision's bare decode and resize.

Both read the same JPEGs from memory-cached files. The bare form stops at 8-bit pixels of the resized image; `prepare`
also crops, normalises and makes the region. Rounds are interleaved in one process. Target: 0.9.

    python -m benchmarks.data_path [--images 200] [--rounds 5] [--manifest FILE]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks import photographs, record
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import pixel_path, prepare
from rate.data.manifest import read_manifest
from rate.types import Sample

GEOMETRY = Geometry(224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
THREADS = (1, 2)


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--manifest", type=Path, help="real photographs; synthetic ones of their size if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.manifest or photographs.write(Path(folder), arguments.images, 10)[0]
        samples = read_manifest(data).samples[: arguments.images]
        contestants = {"prepare": partial(prepare, geometry=GEOMETRY), "torchvision": bare_torchvision()}
        rates: dict[str, list[float]] = {}
        for _ in range(arguments.rounds + 1):
            for name, work in contestants.items():
                for threads in THREADS:
                    rates.setdefault(f"{name}_{threads}", []).append(images_per_s(work, samples, threads))
    measured = {name: values[1:] for name, values in rates.items()}  # the first round warms up
    record.write(
        "data_path",
        {
            "pixel_path": pixel_path(),
            "photographs": "real" if arguments.manifest else "synthetic, 500x375",
            "images": len(samples),
            "rounds": arguments.rounds,
            "images_per_s": {name: round(statistics.median(values), 1) for name, values in measured.items()},
            "prepare_over_torchvision": {
                str(threads): ratio(measured[f"prepare_{threads}"], measured[f"torchvision_{threads}"])
                for threads in THREADS
            },
            "two_threads_over_one": ratio(measured["prepare_2"], measured["prepare_1"]),
            "target": 0.9,
        },
    )


def bare_torchvision() -> Callable[[Sample], object]:
    """Decode a JPEG and resize its 8-bit pixels, antialiased and bicubic, as a loader would."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    torch.set_num_threads(1)

    def work(sample: Sample) -> object:
        pixels = decode_jpeg(read_file(sample.image), mode=ImageReadMode.RGB)
        return resize(pixels, [GEOMETRY.resize], InterpolationMode.BICUBIC, antialias=True)

    return work


def images_per_s(work: Callable[[Sample], object], samples: tuple[Sample, ...], threads: int) -> float:
    """Over all samples, in that many threads."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        for _ in pool.map(work, samples):
            pass
        return len(samples) / (time.perf_counter() - began)


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the rounds."""
    return round(statistics.median(one / other for one, other in zip(ours, theirs, strict=True)), 3)


if __name__ == "__main__":
    main()
