"""Models between two models: `wise:ALPHA:BASE,TUNED` has the weights (1 - ALPHA) BASE + ALPHA TUNED.

WiSE-FT (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). Towers and heads are interpolated tensor
by tensor: the weights of a linear head; the class embeddings, scale and bias of a cosine. At 0 and 1 they are exactly
those of BASE and of TUNED.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rate.artifacts.parity import tolerance
from rate.artifacts.weights import State, load_into, state_digest
from rate.errors import UsageError
from rate.export.sources.open_source import open_torch
from rate.export.sources.source_model import Joint, SourceHead, SourceModel
from rate.export.sources.source_string import Reference, ends_of, parse_source

_BATCH_NORM = (
    "the tower has batch norms, whose statistics are interpolated as its weights are and not measured again; between "
    "the two models they fit neither"
)


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open both models, and make the one between them; see `rate.export.sources.source_model.Family`.

    Raises:
        UsageError: ALPHA is no share, a model cannot be opened, or there are no weights between the two.
    """
    alpha = _alpha(reference)
    ends = ends_of(reference)
    base, tuned = (open_torch(source, classes, native) for source in ends)
    what = f"{base.source} and {tuned.source}"
    if base.geometry != tuned.geometry:
        raise UsageError(f"{what} see other pixels: {base.geometry} and {tuned.geometry}")
    joint = _joint(base.joint, tuned.joint, alpha)
    heads = tuple(_heads(base, tuned, alpha, joint is not None))
    if classes is not None and all(parse_source(source) is None for source in ends):
        raise UsageError("--classes: both are checkpoints with classes of their own; leave it out")
    tower = _between(base.tower.state_dict(), tuned.tower.state_dict(), alpha, f"the towers of {what}")
    _check_same_function(base, tuned, what)
    load_into(tuned.tower, tower, what)
    has_norms = any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in tuned.tower.modules())
    return replace(
        tuned,
        source=reference.text,
        heads=heads,
        weights=state_digest(tower),
        notices=(*base.notices, *tuned.notices, *([_BATCH_NORM] if has_norms and 0.0 < alpha < 1.0 else [])),
        joint=joint,
    )


def _alpha(reference: Reference) -> float:
    try:
        alpha = float(reference.name)
    except ValueError:
        alpha = math.nan
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(f"SOURCE {reference.text!r}: ALPHA must be a number from 0 to 1, got {reference.name!r}")
    return alpha


def _joint(base: Joint | None, tuned: Joint | None, alpha: float) -> Joint | None:
    """Return the space whose class embeddings, scale and bias lie between those of both; None if one reads no text."""
    if base is None or tuned is None:
        return None

    def embed(names: Sequence[str], templates: Sequence[str]) -> Tensor:
        return torch.lerp(base.embed(names, templates), tuned.embed(names, templates), alpha)

    projection = tuned.projection
    if base.projection is not None and projection is not None:
        weights = _between(base.projection.state_dict(), projection.state_dict(), alpha, "the projections of images")
        load_into(projection, weights, "the projection of images")
    mix = partial(_mix, alpha)
    return Joint(embed, mix(base.scale, tuned.scale), mix(base.bias, tuned.bias), projection)


def _mix(alpha: float, base: float, tuned: float) -> float:
    return (1.0 - alpha) * base + alpha * tuned


def _heads(base: SourceModel, tuned: SourceModel, alpha: float, has_text: bool) -> list[SourceHead]:
    """Interpolate the heads that both models have; where both read text, others can be made from it."""
    alone = len(base.heads) == len(tuned.heads) == 1
    made = []
    for head in tuned.heads:
        partner = next((one for one in base.heads if alone or one.name == head.name), None)
        if partner is None and has_text:
            continue
        if partner is None:
            have = ", ".join(one.name for one in base.heads) or "none"
            raise UsageError(
                f"head {head.name!r} of {tuned.source} has no partner in {base.source}, whose heads are: {have}; "
                "a linear probe and the `finetune ft` that began with it have the same, as zero-shot models have"
            )
        if partner.classes != head.classes:
            raise UsageError(
                f"the classes of head {partner.name!r} of {base.source} ({len(partner.classes)}) and of head "
                f"{head.name!r} of {tuned.source} ({len(head.classes)}) differ in their names or their order"
            )
        what = f"the heads {partner.name!r} ({partner.kind}) and {head.name!r} ({head.kind})"
        load_into(head.module, _between(partner.module.state_dict(), head.module.state_dict(), alpha, what), what)
        made.append(head)
    return made


def _between(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float, what: str) -> State:
    """Interpolate what is a floating point number; anything else comes from the nearer end."""
    shapes = [{name: tuple(value.shape) for name, value in one.items()} for one in (base, tuned)]
    if shapes[0] != shapes[1]:
        unlike = sorted(name for name in shapes[0].keys() | shapes[1] if shapes[0].get(name) != shapes[1].get(name))
        raise UsageError(
            f"there are no weights between {what}: {', '.join(unlike[:3])} differ in shape or are not in both; give "
            "two models of one architecture, with heads of one kind"
        )
    nearer = base if alpha < 0.5 else tuned
    return {
        name: torch.lerp(value, tuned[name], alpha) if value.is_floating_point() else nearer[name].clone()
        for name, value in base.items()
    }


def _check_same_function(base: SourceModel, tuned: SourceModel, what: str) -> None:
    """Check that both architectures compute the same with equal weights; leaves ``tuned`` with those of ``base``.

    Shapes do not tell one activation, or one number of attention heads, from another.
    """
    size = base.geometry.size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    load_into(tuned.tower, base.tower.state_dict(), what)
    with torch.inference_mode():
        expected, got = base.tower(pixels).numpy(), tuned.tower(pixels).numpy()
    if not float(np.abs(got - expected).max()) <= tolerance(expected):
        raise UsageError(
            f"{what} are other architectures although the shapes of their weights are equal (another activation?): "
            "with the weights of the first, the second computes something else"
        )
