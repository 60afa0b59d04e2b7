"""At which true share does a verdict turn over? Additive models whose shares are known, without any network.

A picture's score is the sum of its visible pixels' weights; a share of the weight lies in the region, the rest in
spots all over, or in one tag in a corner. Other pictures have weights of their own, which add nothing on average. A
verdict should be valid from a share of one half on, whatever the region's area.

    python -m benchmarks.graded_additive [--draws 20]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks import record
from benchmarks.graded import contrast_bounds
from rate.kernels.fold import project
from rate.kernels.occlusion import Occlusion
from rate.kernels.rise import Rise, moments
from rate.kernels.saliency import Bounds, Method
from rate.kernels.swap import ShapleyValues, shapley_values
from rate.kernels.tokens import RiseTokens
from rate.methods import KEEP
from rate.statistics.validity import localization
from rate.types import Bool, Float64

SIZE = 64
AREAS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.75)
RESTS = ("spots", "tag")
SHARES = np.linspace(0, 1, 101)
FILLS = 16
RISE = Rise(SIZE, 7, KEEP, "fixed", 512, 0)
SAMPLED: dict[str, Method] = {
    "rise, 512 masks": RISE,
    "rise, independent cells, 512 masks": Rise(SIZE, 7, KEEP, "independent", 512, 0),
    "rise-tokens, 512 masks": RiseTokens(SIZE, 8, (0.5,), "fixed", 512, 0),
    "occlusion": Occlusion(SIZE, SIZE // 6, SIZE // 12),
}


@dataclass(frozen=True, eq=False)
class Model:
    """A region and the weights of two models: one has all of them inside, one has all outside; each sums to 1."""

    region: Bool
    weights: Float64  # [2,h,w]

    def mixed(self, share: float) -> Float64:
        """[h,w] the weights of a model with this share inside."""
        return np.asarray(share * self.weights[0] + (1 - share) * self.weights[1])


def main() -> None:
    """Compute and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=20, help="models of each area and kind")
    draws = parser.parse_args().draws
    rows = [row for rest in RESTS for area in AREAS for row in _rows(rest, area, draws)]
    record.write("graded_additive", {"draws": draws, "size": SIZE, "fills": FILLS, "turns": rows})


def _rows(rest: str, area: float, draws: int) -> Iterator[dict[str, object]]:
    rng = np.random.default_rng([RESTS.index(rest), round(100 * area)])
    models = [model(rng, area, rest) for _ in range(draws)]
    measured: dict[str, Callable[[Model], Float64]] = {
        "rise, endless masks": lambda one: localizations(one, blurred(one), RISE.bounds(one.region)),
        "rise without its constant, endless masks": lambda one: localizations(
            one, blurred(one) - 1 / RISE.side**2, contrast_bounds(RISE, one.region)
        ),
        **{name: lambda one, way=way: sampled(one, way) for name, way in SAMPLED.items()},
        f"swap, {FILLS} fills": lambda one: np.array([swapped(one, share, rng).share[0] for share in SHARES]),
    }
    for name, of in measured.items():
        found = np.stack([of(one) for one in models])
        turns = SHARES[(found >= 0.5).argmax(axis=1)]
        error = np.abs(np.clip(found, 0, 1) - SHARES)
        yield {"instrument": name, "rest": rest, "area": area} | {
            key: round(float(value), 3)
            for key, value in (
                ("turns_at", turns.mean()),
                ("lowest", turns.min()),
                ("highest", turns.max()),
                ("error", error.mean()),
                ("largest_error", error.max()),
            )
        }


def model(rng: np.random.Generator, area: float, rest: str) -> Model:
    """Draw a region, spots in it, and spots or a tag outside."""
    high = min(SIZE, round(SIZE * float(np.sqrt(area * np.exp(rng.uniform(-0.5, 0.5))))))
    wide = min(SIZE, round(SIZE * SIZE * area / high))
    top, left = rng.integers(0, SIZE - high + 1), rng.integers(0, SIZE - wide + 1)
    region = np.zeros((SIZE, SIZE), np.bool_)
    region[top : top + high, left : left + wide] = True
    outside = spots(rng, ~region) if rest == "spots" else _tag(region)
    return Model(region, np.stack([spots(rng, region), outside]))


def spots(rng: np.random.Generator, allowed: Bool) -> Float64:
    """Twelve soft spots within ``allowed``."""
    y, x = np.mgrid[:SIZE, :SIZE]
    places = np.argwhere(allowed)
    weights = np.zeros((SIZE, SIZE))
    for row, column in places[rng.integers(len(places), size=12)]:
        weights += rng.uniform(0.5, 1.5) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
    weights *= allowed
    return np.asarray(weights / weights.sum())


def _tag(region: Bool) -> Float64:
    """A square in the corner that is farthest from the region, as far as it lies outside."""
    side = round(0.14 * SIZE)
    centre = np.argwhere(region).mean(axis=0)
    row, column = (slice(SIZE - side, SIZE) if at < SIZE / 2 else slice(0, side) for at in centre)
    weights = np.zeros((SIZE, SIZE))
    weights[row, column] = ~region[row, column]
    return weights / weights.sum()


def blurred(one: Model) -> Float64:
    """[2,h,w] the signal of RISE for endless masks."""
    kernel = moments(RISE.perturbation, fixed=True).kernel
    return np.asarray(kernel @ one.weights @ kernel)


def sampled(one: Model, method: Method) -> Float64:
    """[101] localization of a method's maps at `SHARES`, each from the same masks."""
    masks = method.draw("additive", 0, method.count)
    scores = project(one.weights, masks.grid, masks.offset, method.perturbation)
    signals = method.maps(np.ones(2), np.zeros(2), scores, masks).signal
    return localizations(one, signals, method.bounds(one.region))


def localizations(one: Model, signals: Float64, bounds: Bounds) -> Float64:
    """[101] localization at `SHARES` from the signals [2,h,w] of the two models; a signal is linear in the scores."""
    found = []
    for share in SHARES:
        positive = np.maximum(share * signals[0] + (1 - share) * signals[1], 0)
        mass = float(positive[one.region].sum() / positive.sum())
        found.append(localization(mass, bounds.ceiling, bounds.floor))
    return np.array(found, np.float64)


def swapped(one: Model, share: float, rng: np.random.Generator) -> ShapleyValues:
    """The product's values of region and rest, from other pictures whose weights have a mean of 0."""
    own, others = one.mixed(share), rng.normal(0, 0.02, (FILLS, 2))  # what the fills add inside and outside
    inside, outside = float(own[one.region].sum()), float(own[~one.region].sum())
    return shapley_values(
        whole=np.array([inside + outside]),
        inside=(inside + others[:, 1])[None],
        outside=(others[:, 0] + outside)[None],
        nothing=others.sum(axis=1)[None],
    )


if __name__ == "__main__":
    main()
