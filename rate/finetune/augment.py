"""Augmentation of whole batches: random resized crop, flip, rotation, colour jitter.

The four steps of torchvision for single images are here one affine map and one pass over the colours of a batch. Each
sample has its own draws, and the Python overhead is that of a batch. The draws of row r of an epoch depend on
(seed, epoch, r) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from rate.data.images.geometry import Geometry
from rate.types import Float32, UInt8

DRAWS = 9
"""The number of random numbers for each sample."""

_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Strength:
    """The ranges of the augmentation."""

    area: tuple[float, float] = (0.5, 1.0)  # of the crop, as a share of the image
    log_aspect: float = 0.2877  # the crop's width over its height lies in [3/4, 4/3]
    flip: float = 0.5  # probability
    degrees: float = 10.0  # of rotation, both ways
    jitter: float = 0.2  # brightness, contrast, saturation: factor in 1 +- this; the hue is unchanged


def draws(seed: int, epoch: int, rows: int) -> Float32:
    """Draw [rows, DRAWS] uniform numbers in [0, 1); row r does not depend on the number of rows."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, 0))))
    return generator.random((rows, DRAWS), np.float32)


def augment(images: Sequence[UInt8], uniform: Float32, geometry: Geometry, device: str = "cpu") -> Tensor:
    """Augment and normalise images to pixels f32 [b,3,size,size].

    Args:
        images: u8 [3,h,w] each, of any sizes.
        uniform: [b,DRAWS] in [0, 1), one row for each image.
        geometry: the model's input.
        device: the device of the computation.
    """
    strength = Strength()
    random = torch.from_numpy(uniform).to(device)
    pixels = _warp(images, random, geometry.size, strength, device)
    return _normalise(_jitter(pixels, random, strength), geometry)


def plain(images: Sequence[UInt8], geometry: Geometry, device: str = "cpu") -> Tensor:
    """Convert images, u8 [3,size,size] each, to the pixels of an evaluation, f32 [b,3,size,size]."""
    return _normalise(torch.from_numpy(np.stack(images)).to(device).float() / 255.0, geometry)


def _normalise(pixels: Tensor, geometry: Geometry) -> Tensor:
    mean = torch.tensor(geometry.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(geometry.std, device=pixels.device)[:, None, None]
    return pixels.sub_(mean).div_(std)


def _warp(images: Sequence[UInt8], random: Tensor, size: int, strength: Strength, device: str) -> Tensor:
    """Crop, flip and rotate in one bilinear lookup, f32 [b,3,size,size] in [0, 1], with repeated border values.

    The images are large enough that a crop is hardly reduced, so the lookup needs no filter.
    """
    height_width = torch.tensor([image.shape[1:] for image in images], dtype=torch.float32, device=device)
    places = _places(height_width, random, size, strength)
    if len({image.shape for image in images}) == 1:
        return _look_up(torch.from_numpy(np.stack(images)).to(device), places)
    one = [_look_up(torch.from_numpy(image[None]).to(device), places[k : k + 1]) for k, image in enumerate(images)]
    return torch.cat(one)


def _look_up(images: Tensor, places: Tensor) -> Tensor:
    return grid_sample(images.float().div_(255.0), places, mode="bilinear", padding_mode="border", align_corners=False)


def _places(height_width: Tensor, random: Tensor, size: int, strength: Strength) -> Tensor:
    """Compute the source position of every output pixel, [b,size,size,2] as x, y in [-1, 1] across the image."""
    height, width = height_width.unbind(1)
    low, high = strength.area
    area = height * width * (low + (high - low) * random[:, 0])
    aspect = torch.exp(strength.log_aspect * (2.0 * random[:, 1] - 1.0))
    crop_width = torch.minimum((area * aspect).sqrt(), width)
    crop_height = torch.minimum((area / aspect).sqrt(), height)
    centre_x = (width - crop_width) * (random[:, 2] - 0.5)  # distance from the centre of the image, pixels
    centre_y = (height - crop_height) * (random[:, 3] - 0.5)
    mirror = torch.where(random[:, 4] < strength.flip, -1.0, 1.0)
    angle = torch.deg2rad(strength.degrees * (2.0 * random[:, 5] - 1.0))
    steps = (torch.arange(size, device=random.device) + 0.5) / size - 0.5  # in units of the crop's side
    across = steps[None, None, :] * (crop_width * mirror)[:, None, None]
    down = steps[None, :, None] * crop_height[:, None, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x = cos * across - sin * down + centre_x[:, None, None]
    y = sin * across + cos * down + centre_y[:, None, None]
    return torch.stack((2.0 * x / width[:, None, None], 2.0 * y / height[:, None, None]), dim=-1)


def _jitter(pixels: Tensor, random: Tensor, strength: Strength) -> Tensor:
    """Change brightness, contrast and saturation, in this order, each clipped to [0, 1] as in torchvision."""
    factor = 1.0 + strength.jitter * (2.0 * random[:, 6:9, None, None, None] - 1.0)
    weights = torch.tensor(_GREY, device=pixels.device)[:, None, None]
    pixels = pixels.mul_(factor[:, 0]).clamp_(0.0, 1.0)
    mean = (pixels * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, factor[:, 1]).clamp_(0.0, 1.0)
    grey = (pixels * weights).sum(1, keepdim=True)
    return torch.lerp(grey, pixels, factor[:, 2]).clamp_(0.0, 1.0)
