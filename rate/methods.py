"""The saliency methods. A method is a file of kernels and one entry here with the facts that other modules need.

The modules of a method are imported when it is used, so that the settings and `--help` stay light. Installed packages
add entries, see `rate.plugins`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rate.errors import ConfigError, UsageError
from rate.plugins import Registry, of_type, require_module

if TYPE_CHECKING:
    from rate.config import Measurement

KEEP = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The shares of cells that RISE masks keep.

RISE's authors use 0.5 alone; several shares are more accurate on planted evidence.
"""

SAMPLING = ("masks", "min_masks", "max_masks", "confidence", "seed")
"""The settings of a method whose masks are drawn at random."""


@dataclass(frozen=True, slots=True)
class SaliencyMethod:
    """The facts of a saliency method for settings, engine, tables and reports."""

    name: str  # name in `--saliency`
    title: str  # name in a report
    settings: tuple[str, ...]  # fields of `Measurement` that it reads, beside those of every method
    kernel: str | None = None  # MODULE:FUNCTION, see `masks_of`; None: it does not perturb
    runner: str | None = None  # MODULE:FUNCTION, see `open_own_runner`; None: it uses a backend
    form: str = "pixels"  # form of the artifact's graph that it needs
    keep: tuple[float, ...] = KEEP  # default shares
    rule: tuple[str, str] = ("positive", "midpoint")  # default evidence and valid
    masks: str | None = None  # entry of a rule instead of a number of masks; None: the number
    masks_in_words: str = "masks until the verdict is clear"  # phrase of a report for adaptive masks
    hint: str = ""  # suffix of its name in help texts
    check: Callable[[Measurement], None] = lambda measurement: None  # raises ConfigError for invalid settings

    def masks_of(self, measurement: Measurement, size: int, patches: int | None) -> Any:
        """Make the `rate.kernels.saliency.Method` for images of ``size`` pixels in ``patches`` patches per side.

        Raises:
            UsageError: the method has no masks, or the model lacks what they need.
        """
        if self.kernel is None:
            raise UsageError(f"{self.name} perturbs nothing and has no masks: `rate eval` alone measures it")
        return _resolved(self.kernel)(measurement, size, patches)

    def open_own_runner(self, *arguments: Any) -> Any:
        """Return the function that opens the method's own runner for an artifact and its `Execution`.

        The runner is a `rate.engine.outcome.Explainer`; a third argument requests the model with shuffled weights.
        """
        assert self.runner is not None, "a method with masks goes through a backend"
        return _resolved(self.runner)(*arguments)


def _resolved(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return factory


def _check_tokens(measurement: Measurement) -> None:
    shares = measurement.shares
    if measurement.grid != 7:
        raise ConfigError(
            f"grid {measurement.grid}: the cells of rise-tokens are the model's patches; leave --grid out"
        )
    if len(shares) != 1 or measurement.cells != "fixed":
        raise ConfigError(
            f"rise-tokens keeps the same number of patches in every mask, got keep {','.join(map(str, shares))} "
            f"and cells {measurement.cells!r}; give one share, such as --keep 0.5, and leave --cells out"
        )


DEFAULT = "rise"

_BUILT_IN = {
    method.name: method
    for method in (
        SaliencyMethod(
            name=DEFAULT,
            title="RISE",
            settings=("grid", "keep", "cells", *SAMPLING),
            kernel="rate.kernels.rise:from_settings",
        ),
        SaliencyMethod(
            name="occlusion",
            title="Occlusion",
            settings=("window", "stride"),
            kernel="rate.kernels.occlusion:from_settings",
            masks="windows",
            masks_in_words="every window",
        ),
        SaliencyMethod(
            name="rise-tokens",
            title="RISE on the patches of the model",
            settings=("keep", "cells", *SAMPLING),
            kernel="rate.kernels.tokens:from_settings",
            form="tokens",
            keep=(0.5,),  # one share, since a forward takes a fixed number of patches
            hint="a ViT's patches, dropped",
            check=_check_tokens,
        ),
        SaliencyMethod(
            name="attention",
            title="Gradient-weighted attention",
            settings=(),
            runner="rate.engine.attention:open_attention",
            rule=("minmax", "absolute"),
            masks="none",
            masks_in_words="no masks, gradients",
            hint="the paper's",
        ),
    )
}

GIVEN = SaliencyMethod(
    name="given",
    title="Maps of another tool",
    settings=("blur",),
    rule=("positive", "absolute"),
    masks="given",
    masks_in_words="as they were given",
)
"""The maps of `rate judge`, which no command makes."""


def _accept(name: str, value: object) -> SaliencyMethod:
    """Take the method of a plug-in, whose rows are no other than those of its settings."""
    method = of_type(SaliencyMethod, value)
    if method.name != name:
        raise ValueError(f"the entry point is called {name} and the method {method.name!r}")
    known = {setting for one in _BUILT_IN.values() for setting in one.settings}
    if unknown := sorted({*method.settings} - known):
        raise ValueError(f"it reads the setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    if not (places := [place for place in (method.kernel, method.runner) if place]):
        raise ValueError("it has neither a kernel nor a runner")
    for place in places:
        require_module(place)
    return method


METHODS = Registry("rate.methods", _BUILT_IN, _accept)
"""Maps names to methods, in the order of help texts, which have the built-in ones."""


def method_named(name: str) -> SaliencyMethod:
    """Return the method with a name.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in METHODS:
        raise ConfigError(f"saliency must be one of {', '.join(METHODS)}; got {name!r}")
    return METHODS[name]
