"""ImageNet-C: corrupted images, with regions from the clean set.

Layout, from the authors' script (create_c/make_imagenet_c.py): `CORRUPTION/SEVERITY/SYNSET/NAME.JPEG`, with NAME as in
the clean set; unpacked archives may put `noise`, `blur`, `weather`, `digital` or `extra` above. Images have 224 x 224
pixels: the short side of the clean one is resized to 256, the centre is cropped and then corrupted.
Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from rate.data.images.corrupt import CROP, EXTRA, TYPES, Corruption, region_in_crop
from rate.data.make.index import image_files
from rate.data.make.layouts.base import BROKEN, Entry, LeftOut, Region
from rate.data.make.layouts.write import stored
from rate.data.manifest import read_manifest
from rate.errors import DataError, SampleError
from rate.types import Sample

UNKNOWN = "are not in the clean manifest"


def read_imagenet_c(
    root: Path, *, clean: Path, corruptions: tuple[Corruption, ...] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every corrupted image with label and region of the clean one; split = `fog:3`, cluster = the clean image.

    Args:
        root: the folder that holds the corruptions.
        clean: manifest of the clean validation set, e.g. of `read_imagenet`; images are matched by name.
        corruptions: the corruptions to read; None = all that exist.

    Raises:
        DataError: the clean manifest cannot be used, or there is no corruption.
    """
    samples = {Path(sample.image).stem: sample for sample in read_manifest(clean).samples}
    folders = [candidate for candidate in _folders(root) if corruptions is None or candidate[1] in corruptions]
    if not folders:
        raise DataError(
            f"{root} has none of the folders CORRUPTION/SEVERITY that are wanted, e.g. {root / 'fog' / '3'}"
        )
    clean_region = lru_cache(maxsize=None)(_region)
    for folder, corruption in folders:
        for image in image_files(folder):
            sample = samples.get(image.stem)
            if sample is None:
                yield LeftOut(image, UNKNOWN)
                continue
            try:
                region = clean_region(sample)
            except SampleError as error:
                yield LeftOut(image, BROKEN, str(error))
                continue
            side = (CROP.size, CROP.size)
            name = f"{image.stem}.png"
            yield Entry(image, sample.label, region, str(corruption), image.stem, annotated=side, mask_name=name)


def _folders(root: Path) -> list[tuple[Path, Corruption]]:
    places = sorted((*root.glob("*/[1-5]"), *root.glob("*/*/[1-5]")))
    known = [place for place in places if place.is_dir() and place.parent.name in (*TYPES, *EXTRA)]
    return [(place, Corruption(place.parent.name, int(place.name))) for place in known]


def _region(sample: Sample) -> Region:
    """Return the clean region in pixels of the crop; a mask is made when it is written, once for all corruptions."""
    size, _ = stored(sample.image)
    if sample.boxes is not None:
        return CROP.boxes_in_crop(sample.boxes, size)
    return lambda _: region_in_crop(sample, size)
