"""ImageNet-C's corruptions as functions of (sample id, seed, type, severity) and the image alone.

Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019; the
implementation is the package imagecorruptions-imaug. A corruption applies to the crop of the model, since ImageNet-C
corrupts the 224 x 224 pixels left by resize and centre crop. The geometry and the region are those of the clean image.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from rate.data.images.geometry import Geometry, to_rgb
from rate.data.images.masks import Mask
from rate.data.images.prepare import Alter, load_mask, mask_in_crop
from rate.errors import ConfigError, SampleError, need
from rate.types import Sample

TYPES = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The fifteen reported types, in the paper's order."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four types for validation, which are read from existing sets and not made."""

SEVERITIES = (1, 2, 3, 4, 5)
CLEAN = "clean"
SMALLEST = 32

LIBRARIES = (
    "imagecorruptions-imaug",
    "numba",
    "scikit-image",
    "scipy",
    "opencv-python",
    "opencv-python-headless",
)
"""Packages whose versions may change a pixel."""

# these use the generators of scikit-image and numba, with their own seed
_OWN_GENERATOR = ("impulse_noise", "glass_blur")
_LOCK = threading.Lock()

CROP = Geometry(224, 256, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), interpolation="bilinear")
"""The geometry of ImageNet-C: short side to 256, bilinear, then the middle 224 x 224.

Severities are in those pixels.
"""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption at one severity; ``seed`` and the sample's id determine its random numbers.

    Raises:
        ConfigError: no such type or severity.
    """

    type: str  # one of TYPES or EXTRA
    severity: int  # 1 to 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.type not in (*TYPES, *EXTRA):
            raise ConfigError(f"{self.type!r} is no corruption; there are {', '.join(TYPES)}")
        if self.severity not in SEVERITIES:
            raise ConfigError(f"the severity of {self.type} must be 1 to 5, got {self.severity}")

    def __str__(self) -> str:
        return f"{self.type}:{self.severity}"


def parse_corruption(text: str, seed: int = 0) -> tuple[Corruption, ...]:
    """Parse corruptions: `fog:3` is one, `fog` five severities, `all:3` fifteen types, `all` all 75.

    Raises:
        ConfigError: no such type, or a severity that is not 1 to 5.
    """
    name, colon, severity = text.partition(":")
    if name != "all" and name not in TYPES:
        raise ConfigError(
            f"{text!r} is no corruption; expected TYPE:SEVERITY, e.g. fog:3, TYPE or all; the types are "
            f"{', '.join(TYPES)}"
        )
    if colon and severity not in {str(known) for known in SEVERITIES}:
        raise ConfigError(f"the severity of {text!r} must be 1 to 5, e.g. {name}:3")
    types = TYPES if name == "all" else (name,)
    return tuple(Corruption(one, level, seed) for one in types for level in ((int(severity),) if colon else SEVERITIES))


def corruption_function(text: str | None, seed: int = 0) -> Alter | None:
    """Return the function that `rate.data.images.prepare.prepare` applies to a crop for `fog:3`; None for None.

    Raises:
        ConfigError: ``text`` is not one type at one severity.
        MissingExtra: imagecorruptions-imaug is not installed.
    """
    if text is None:
        return None
    corruptions = parse_corruption(text, seed)
    if len(corruptions) > 1:
        raise ConfigError(f"{text!r} is {len(corruptions)} corruptions, expected one such as {corruptions[0]}")
    need("imagecorruptions", "corrupt")
    return partial(_altered, corruption=corruptions[0])


def check_size(size: int) -> str | None:
    """Return a notice about corruptions on crops of ``size`` x ``size`` pixels; None = no notice.

    Raises:
        ConfigError: the crops are too small.
    """
    if size < SMALLEST:
        raise ConfigError(f"the model sees {size} x {size} pixels, corruptions need {SMALLEST} on a side")
    if size == CROP.size:
        return None
    return (
        f"severities are in pixels of ImageNet-C's crop of {CROP.size}, this model sees {size} x {size}: the same "
        "number is another severity to it than to a model of that size"
    )


def _altered(image: Image.Image, key: str, corruption: Corruption) -> Image.Image:
    return corrupted(image, corruption, key)


def parse_grid(text: str, severities: Sequence[int] = SEVERITIES) -> tuple[str | None, ...]:
    """Parse the conditions of a grid, for `corruption_function`: `clean,fog:3,snow` gives None, fog:3, snow:1 to 5.

    Args:
        text: TYPE, TYPE:SEVERITY, all, all:SEVERITY and clean, with commas between them.
        severities: the severities of types without one.

    Raises:
        ConfigError: the type or severity is unknown.
    """
    if not severities or not set(severities) <= set(SEVERITIES):
        raise ConfigError(f"severities must be from 1 to 5, got {','.join(map(str, severities)) or 'none'}")
    entries: list[str | None] = []
    for part in text.split(","):
        if part.strip() == CLEAN:
            entries.append(None)
            continue
        fixed = ":" in part
        made = parse_corruption(part.strip())
        entries += [str(one) for one in made if fixed or one.severity in severities]
    return tuple(dict.fromkeys(entries))


def corrupted(image: Image.Image, corruption: Corruption, key: str) -> Image.Image:
    """Corrupt an image; the result has the same size, in mode RGB.

    Args:
        image: 8-bit RGB of at least 32 x 32 pixels: the crop of a model, of 224 pixels as in ImageNet-C. At another
            size the same severity looks different, since its parameters are in pixels.
        corruption: the corruption.
        key: the sample's id; with the corruption and its seed it determines all random numbers.

    Most corruptions draw from numpy's global generator. It is seeded for the call and restored after it, under a lock:
    no other code in the process may draw from it at that time. Processes are independent.

    Raises:
        SampleError: the image is too small, or the corruption failed on it.
        MissingExtra: imagecorruptions-imaug is not installed.
    """
    library = need("imagecorruptions", "corrupt")
    if min(image.size) < SMALLEST:
        raise SampleError(f"{key}: is {image.width} x {image.height} pixels, corruptions need {SMALLEST} on a side")
    seed = _seed(corruption, key)
    own: dict[str, Any] = {"seed": seed} if corruption.type in _OWN_GENERATOR else {}
    pixels = np.array(to_rgb(image))
    with _LOCK:
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            result = library.corrupt(pixels, corruption.severity, corruption.type, **own)
        except Exception as error:  # exceptions of numpy, scipy, scikit-image and OpenCV
            raise SampleError(f"{key}: {corruption} failed: {type(error).__name__}: {error}") from error
        finally:
            np.random.set_state(before)
    return Image.fromarray(result)


def mask_of_crop(sample: Sample, size: tuple[int, int]) -> Mask:
    """Compute the sample's mask in pixels of CROP.

    Args:
        sample: a sample with a mask.
        size: width and height of the upright image, pixels.

    Raises:
        SampleError: the mask cannot be read, or has another size.
    """
    if sample.mask is None:
        raise SampleError(f"{sample.id}: has no mask")
    mask = load_mask(sample.mask, sample.mask_stamp, sample.values)
    return Mask(*mask_in_crop(sample, mask, CROP, size))


def _seed(corruption: Corruption, key: str) -> int:
    """Compute a seed of 32 bits, the limit of numpy's global generator and numba's."""
    text = f"{corruption.seed} {corruption.type} {corruption.severity} {key}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=4).digest(), "little")
