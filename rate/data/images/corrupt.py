"""ImageNet-C's corruptions, each a function of (sample id, seed, type, severity) and the image alone.

Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019; as
the package imagecorruptions-imaug has them. They belong on the crop the model sees: ImageNet-C corrupts the 224 x 224
pixels left by resize and centre crop, so the geometry, and with it the region, is the clean image's.
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
from rate.data.images.prepare import Alter, check_mask_size, load_mask
from rate.errors import ConfigError, SampleError, need
from rate.types import Bool, Sample

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
"""The fifteen that are reported, in the paper's order."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four kept for validation: read where they lie on the disk, not made."""

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
"""Packages whose versions may move a pixel."""

_OWN_GENERATOR = ("impulse_noise", "glass_blur")  # scikit-image's and numba's, which take a seed of their own
_LOCK = threading.Lock()

CROP = Geometry(224, 256, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), interpolation="bilinear")
"""What ImageNet-C corrupts: short side to 256, bilinear, then the middle 224 x 224. Severities are in those pixels."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption at one severity; ``seed`` and the sample's id fix what is chance in it.

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
    """`fog:3` is one, `fog` five severities, `all:3` fifteen types, `all` all 75.

    Raises:
        ConfigError: no such type, or a severity that is not 1 to 5.
    """
    name, colon, severity = text.partition(":")
    if name != "all" and name not in TYPES:
        raise ConfigError(f"{text!r} is no corruption; expected TYPE:SEVERITY, e.g. fog:3, TYPE or all; {_known()}")
    if colon and severity not in {str(known) for known in SEVERITIES}:
        raise ConfigError(f"the severity of {text!r} must be 1 to 5, e.g. {name}:3")
    types = TYPES if name == "all" else (name,)
    return tuple(Corruption(one, level, seed) for one in types for level in ((int(severity),) if colon else SEVERITIES))


def alteration(text: str | None, seed: int = 0) -> Alter | None:
    """What `rate.data.images.prepare.prepare` does to a crop for `fog:3`; None for None.

    Raises:
        ConfigError: ``text`` is not one type at one severity.
        MissingExtra: imagecorruptions-imaug is not installed.
    """
    if text is None:
        return None
    found = parse_corruption(text, seed)
    if len(found) > 1:
        raise ConfigError(f"{text!r} is {len(found)} corruptions, expected one such as {found[0]}")
    need("imagecorruptions", "corrupt")
    return partial(_altered, corruption=found[0])


def check_size(size: int) -> str | None:
    """What a user should know of corruptions on crops of ``size`` x ``size`` pixels; None = nothing.

    Raises:
        ConfigError: they are too small.
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
    """What a set is to be put under, each as `alteration` takes it: `clean,fog:3,snow` has None, fog:3, snow:1 to 5.

    Args:
        text: TYPE, TYPE:SEVERITY, all, all:SEVERITY and clean, with commas between them.
        severities: of those without one.

    Raises:
        ConfigError: no such type or severity.
    """
    if not severities or not set(severities) <= set(SEVERITIES):
        raise ConfigError(f"severities must be from 1 to 5, got {','.join(map(str, severities)) or 'none'}")
    found: list[str | None] = []
    for part in text.split(","):
        if part.strip() == CLEAN:
            found.append(None)
            continue
        fixed = ":" in part
        made = parse_corruption(part.strip())
        found += [str(one) for one in made if fixed or one.severity in severities]
    return tuple(dict.fromkeys(found))


def corrupted(image: Image.Image, corruption: Corruption, key: str) -> Image.Image:
    """The image corrupted: of the same size, in mode RGB.

    Args:
        image: RGB of 8 bits, at least 32 x 32 pixels; the crop of a model, of 224 pixels as in ImageNet-C. At another
            size the same severity is another one to the eye: its parameters are in pixels.
        corruption: what is done.
        key: the sample's id; with the corruption and its seed it fixes everything that is chance.

    Most corruptions draw from numpy's global generator. It is seeded for the call and put back after it, under a lock:
    threads take turns, and nothing else in the process may draw from it meanwhile. Processes run side by side.

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
        except Exception as error:  # numpy's, scipy's, scikit-image's and OpenCV's own
            raise SampleError(f"{key}: {corruption} failed: {type(error).__name__}: {error}") from error
        finally:
            np.random.set_state(before)
    return Image.fromarray(result)


def region_in_crop(sample: Sample, size: tuple[int, int]) -> Bool:
    """[h,w] the sample's mask in pixels of CROP.

    Args:
        size: width and height of the upright image, pixels.

    Raises:
        SampleError: the mask cannot be read, or is not of that size.
    """
    if sample.mask is None:
        raise SampleError(f"{sample.id}: has no mask")
    mask = load_mask(sample.mask, sample.mask_stamp)
    check_mask_size(sample, mask, size)
    return CROP.region_from_mask(mask)


def _known() -> str:
    return f"the types are {', '.join(TYPES)}"


def _seed(corruption: Corruption, key: str) -> int:
    """32 bits, as much as numpy's global generator and numba's take."""
    text = f"{corruption.seed} {corruption.type} {corruption.severity} {key}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=4).digest(), "little")
