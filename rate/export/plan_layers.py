"""What the inspector of a TensorRT engine says of its layers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

_FUSED = re.compile(r"_mha|fmha|flash", re.IGNORECASE)
"""In the tactic of a fused attention, such as `_gemm_mha_v2_0x957a`: TensorRT's maintainers name `_mha`."""

_PROFILE = re.compile(r"\[profile (\d+)\]")
"""In the names of the layers of all profiles but the first."""


def fused_attentions(library: Any, log: Any, plan: bytes) -> int | None:
    """Count the fused attentions in the kernels of the batch size that has the fewest; None = nothing is told.

    Args:
        library: the module tensorrt.
        log: receives its messages.
        plan: built with detailed verbosity.
    """
    engine = library.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        return None
    told = engine.create_engine_inspector().get_engine_information(library.LayerInformationFormat.JSON)
    try:
        layers = json.loads(told)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    return fewest_fused(layers, engine.num_optimization_profiles)


def fewest_fused(layers: list[Any], profiles: int) -> int | None:
    """Count the fused attentions of each profile in the inspector's ``layers``, and return the least number."""
    detailed = [layer for layer in layers if isinstance(layer, Mapping)]
    if not detailed:
        return None  # names alone, as plans of lower verbosity have them
    fused: Counter[int] = Counter()
    for layer in detailed:
        if _FUSED.search(str(layer.get("TacticName", ""))):
            named = _PROFILE.search(str(layer.get("Name", "")))
            fused[int(named[1]) if named else 0] += 1
    return min(fused[profile] for profile in range(profiles))
