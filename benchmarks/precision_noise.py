"""Noise on logits, to see which of it a gate lets pass: on the logits of a backend, and on those of zero-shot heads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from rate.artifacts.parity import measure, problems
from rate.artifacts.parity_sample import PICTURES, ParitySample, make_sample, perturbed
from rate.backends.base import Backend, BackendSpec, Done, Logits, Pending
from rate.backends.fake import FakeSpec
from rate.data.images.geometry import Geometry
from rate.kernels.separable import Perturbation
from rate.types import Float32, Picture, Rows, SoftRegion


@dataclass(frozen=True)
class NoisySpec:
    """A backend whose logits have Gaussian noise of a standard deviation for each head."""

    spec: BackendSpec
    sigmas: dict[str, float] = field(hash=False)
    name: str = "noisy"
    precision: str = "bf16"

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Open the backend under the noise."""
        with self.spec.open(perturbation, slots) as backend:
            yield NoisyBackend(backend, self.sigmas)


class NoisyBackend:
    """An open `NoisySpec`."""

    name, precision, device, version, depth = "noisy", "bf16", "cpu", "1", 1

    def __init__(self, backend: Backend, sigmas: dict[str, float]) -> None:
        self._backend, self._sigmas, self._rng = backend, sigmas, np.random.default_rng(0)

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """See `Backend`."""
        self._backend.bind(perturbation, slots)

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        """See `Backend`."""
        self._backend.put(slot, picture, region)

    def submit(self, rows: Rows) -> Pending:
        """Compute the logits at once, and add the noise."""
        exact = self._backend.submit(rows).wait()
        noise = {head: self._rng.normal(0, self._sigmas[head], values.shape) for head, values in exact.items()}
        return Done({head: (values + noise[head]).astype(np.float32) for head, values in exact.items()})


def within(sample: ParitySample, head: str) -> float:
    """The root mean square of centred logits about the mean of the same picture and class."""
    logits = sample.logits[head].astype(np.float64)
    centred = logits - logits.mean(axis=1, keepdims=True)
    own = [centred[sample.rows.slot == k] for k in range(PICTURES)]
    return float(np.sqrt(np.mean([(one - one.mean(axis=0)) ** 2 for one in own])))


def unseen_noise(noise: float = 0.85, classes: int = 100, size: int = 32) -> Iterator[dict[str, object]]:
    """Noise of .85 on logits of 20 +- 3 over classes, which perturbations of a picture change by a given spread."""
    rng = np.random.default_rng(0)
    means, weights = rng.normal(20, 3, classes), rng.normal(size=(3 * size * size, classes))
    geometry = Geometry(size, size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    def model(images: Float32, factor: float, sigma: float = 0.0) -> Logits:
        logits = means + images.reshape(len(images), -1) @ weights * factor
        return {"zs": (logits + rng.normal(0, 1, logits.shape) * sigma).astype(np.float32)}

    unit = within(make_sample(geometry, lambda images: model(images, 1.0)), "zs")
    for wanted in (0.5, 1.0, 3.0):
        factor = wanted / unit
        sample = make_sample(geometry, lambda images, factor=factor: model(images, factor))
        exact = sample.logits["zs"]
        shown = perturbed(sample.perturbation, sample.images, sample.region, sample.rows)
        noisy = model(shown, factor, noise)["zs"]
        cosines = (exact * noisy).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(noisy, axis=1)
        spec = FakeSpec(lambda images, factor=factor: model(images, factor, noise), precision="bf16")
        parity = measure(sample, spec)
        yield {
            "spread_under_masks": wanted,
            "mean_cosine": round(float(cosines.mean()), 5),
            "error_over_spread": float(f"{parity.error['zs']:.3g}"),
            "accepted": not problems(parity),
        }
