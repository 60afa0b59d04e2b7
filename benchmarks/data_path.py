"""Images/s a core from files to what a device is given, by stage, and how many cores a fast device then takes.

All times are CPU seconds of one thread, so other work on the machine does not count. Files are in the memory of the
system. Photographs are made unless a manifest of real ones is named; one set has boxes, one has masks.
The engine's own share is that of `benchmarks.host` under swaps until clear. `--threads` measures two threads beside one
instead, into a record of its own.

    python -m benchmarks.data_path [--images 100] [--rounds 5] [--manifest FILE] [--name data_path] [--threads]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from benchmarks import host, photographs, record
from rate.config import Measurement
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import decoded, pixel_path, prepare, upright_rgb
from rate.data.manifest import read_manifest
from rate.data.storage.location import read_bytes
from rate.kernels.region import cut_of_swaps
from rate.types import Sample

GEOMETRY = Geometry(224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PATHS = ("pillow", "torchvision")
FORWARDS = 17
"""Forwards of an image under swaps until clear: eight pictures twice, and itself."""

DEVICES = (1_000, 10_000, 20_000)
"""Forwards a second of a device."""

TARGET = 1.5
"""Cores for a device of 10,000 forwards a second."""

Samples = tuple[Sample, ...]
T = TypeVar("T")


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--manifest", type=Path, help="real photographs with boxes, too")
    parser.add_argument("--name", default="data_path", help="of the record")
    parser.add_argument("--threads", action="store_true", help="measure two threads beside one instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sets = sets_of(Path(folder), arguments.images, arguments.manifest)
        if arguments.threads:
            torch_alone()
            found = {
                name: {library: scaling(library, samples, arguments.rounds) for library in PATHS}
                for name, samples in sets.items()
            }
            record.write(f"{arguments.name}_threads", {"images": arguments.images, "sets": found})
            return
        forwards = float(str(host.measured("swap auto", 1, 256, None, 4.0)["forwards_per_cpu_s"]))
        measured = {name: figures(samples, arguments.rounds, forwards) for name, samples in sets.items()}
    record.write(
        arguments.name,
        {
            "pixel_paths": [pixel_path(library=name) for name in PATHS],
            "images": arguments.images,
            "rounds": arguments.rounds,
            "forwards_an_image": FORWARDS,
            "engine_forwards_per_cpu_s": forwards,
            "target_cores_at_10000": TARGET,
            "sets": measured,
        },
    )


def sets_of(folder: Path, images: int, manifest: Path | None) -> dict[str, Samples]:
    """The samples of every set by its name."""
    data, _ = photographs.write(folder, images, 10)
    made = read_manifest(data).samples
    masked = folder / "masked.csv"
    rows, columns = np.mgrid[:375, :500]
    disc = (rows - 190) ** 2 / 110**2 + (columns - 240) ** 2 / 120**2 < 1
    Image.fromarray(disc.astype(np.uint8) * 255).save(folder / "mask.png")
    masked.write_text("image,label,mask\n" + "".join(f"{k}.jpg,a,mask.png\n" for k in range(images)))
    found = {"500x375, boxes": made, "500x375, masks": read_manifest(masked).samples}
    return found | ({} if manifest is None else {f"{manifest.parent.name}": read_manifest(manifest).samples[:images]})


def figures(samples: Samples, rounds: int, forwards_per_cpu_s: float) -> dict[str, object]:
    """Images a CPU second of every way to read a set, CPU milliseconds of every stage of the usual one, and cores."""
    ways = {name: partial(prepare, geometry=GEOMETRY, library=name) for name in PATHS}
    whole = {
        name: milliseconds(way, samples, rounds)
        for name, way in {**ways, "bare torchvision": bare_torchvision()}.items()
    }
    parts = stages(samples, rounds)
    return {
        "images_per_cpu_s": {name: round(1e3 / took, 1) for name, took in whole.items()},
        "stages_ms": {name: round(took, 3) for name, took in parts.items()},
        "bytes_an_image": uploaded(samples[0]),
        "levels_that_differ": difference(samples),
        "cores": {name: cores(whole[name], parts["cut of swaps"], forwards_per_cpu_s) for name in PATHS},
    }


def scaling(library: str, samples: Samples, rounds: int) -> dict[str, float]:
    """Images a second of two threads over those of one, and the share of time in which they wait for each other.

    Seconds in which a thread waits for a core do not count; Linux tells them.
    """
    found = [[reading(library, samples, count) for count in (1, 2)] for _ in range(rounds + 1)][1:]
    over = statistics.median(2 * one[0] / two[0] for one, two in found)
    waiting = statistics.median(1 - computing / own for _, (own, computing) in found)
    return {"two_over_one": round(over, 3), "waiting": round(waiting, 3)}


def reading(library: str, samples: Samples, threads: int) -> tuple[float, float]:
    """Seconds of threads that read all samples each, without those in which they wait for a core, and CPU seconds."""
    together = threading.Barrier(threads)

    def read(_: int) -> tuple[float, float]:
        prepare(samples[0], GEOMETRY, library=library)
        together.wait()
        began, (computed, queued) = time.perf_counter(), scheduled()
        for sample in samples:
            prepare(sample, GEOMETRY, library=library)
        took, (computing, queuing) = time.perf_counter() - began, scheduled()
        return took - (queuing - queued), computing - computed

    with ThreadPoolExecutor(threads) as pool:
        found = [*pool.map(read, range(threads))]
    return statistics.mean(took for took, _ in found), statistics.mean(computing for _, computing in found)


def scheduled() -> tuple[float, float]:
    """Seconds for which this thread has had a core, and has waited for one."""
    computing, queuing, _ = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    return int(computing) / 1e9, int(queuing) / 1e9


def difference(samples: Samples) -> dict[str, float]:
    """The share of levels in which the two paths differ, and by how much at most."""
    apart = [
        np.abs(np.subtract(*(prepare(sample, GEOMETRY, library=name).picture.levels.astype(int) for name in PATHS)))
        for sample in samples
    ]
    share = statistics.mean(float((one > 0).mean()) for one in apart)
    return {"share": round(share, 5), "most": max(int(one.max()) for one in apart)}


def stages(samples: Samples, rounds: int) -> dict[str, float]:
    """CPU milliseconds an image of each stage, from the results of the one before; the region is in the rest."""
    data = [read_bytes(sample.image, sample.image_stamp) for sample in samples]
    images = [decoded(one, "", upright_rgb) for one in data]
    crops = [GEOMETRY.image_to_crop(image) for image in images]
    regions = [prepare(sample, GEOMETRY).region for sample in samples]
    boxed, usual = samples[0].boxes is not None, Measurement()
    return {
        "read": milliseconds(lambda sample: read_bytes(sample.image, sample.image_stamp), samples, rounds),
        "decode": milliseconds(lambda one: decoded(one, "", upright_rgb), data, rounds),
        "resize and crop": milliseconds(GEOMETRY.image_to_crop, images, rounds),
        "pixels": milliseconds(GEOMETRY.crop_to_picture, crops, rounds),
        "cut of swaps": milliseconds(lambda one: cut_of_swaps(one, boxed, usual.margin, usual.ramp), regions, rounds),
    }


def uploaded(sample: Sample) -> int:
    """Bytes that a device is given for an image and its region."""
    ready, usual = prepare(sample, GEOMETRY), Measurement()
    cut = cut_of_swaps(ready.region, sample.boxes is not None, usual.margin, usual.ramp)
    return sum(array.nbytes for array in (ready.picture.levels, ready.picture.zero, ready.picture.scale, cut))


def cores(prepare_ms: float, cut_ms: float, forwards_per_cpu_s: float) -> dict[str, dict[str, float]]:
    """Cores that a device of so many forwards a second takes for reading, for the engine, and together."""
    found = {}
    for device in DEVICES:
        read = device / FORWARDS * (prepare_ms + cut_ms) / 1e3
        engine = device / forwards_per_cpu_s
        found[str(device)] = {"read": round(read, 2), "engine": round(engine, 2), "all": round(read + engine, 2)}
    return found


def bare_torchvision() -> Callable[[Sample], object]:
    """Decode a JPEG and resize its 8-bit pixels, antialiased and bicubic, as a loader would."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    torch_alone()

    def work(sample: Sample) -> object:
        pixels = decode_jpeg(read_file(sample.image), mode=ImageReadMode.RGB)
        return resize(pixels, [GEOMETRY.resize], InterpolationMode.BICUBIC, antialias=True)

    return work


def torch_alone() -> None:
    """Keep torch from threads of its own."""
    import torch

    torch.set_num_threads(1)


def milliseconds(work: Callable[[T], object], items: Sequence[T], rounds: int) -> float:
    """CPU time of one call, the median of the rounds; the first one warms up."""
    took = []
    for _ in range(rounds + 1):
        began = time.process_time()
        for item in items:
            work(item)
        took.append((time.process_time() - began) / len(items) * 1e3)
    return statistics.median(took[1:])


if __name__ == "__main__":
    main()
