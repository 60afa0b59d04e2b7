"""The models `network:FILE`: a small network with its weights in FILE, and the names of its logits in --classes."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from rate.artifacts.weights import load_into, read_state, state_digest, under
from rate.data.images.geometry import Geometry
from rate.export.options import read_classes
from rate.export.sources.source_model import SourceHead, SourceModel
from rate.export.sources.source_string import Reference
from rate.types import Json

GEOMETRY = Geometry(size=64, resize=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def build_tower(config: Json, state: Mapping[str, Tensor]) -> nn.Module:
    """Make the network without its classifier: pixels [b,3,64,64] -> features [b,16]."""
    tower = nn.Sequential(nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    load_into(tower, state, "the network's weights")
    return tower


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open FILE as the tower and, with the names of its classes, its classifier."""
    state = read_state(Path(reference.rest))
    tower, heads = build_tower({"name": "network"}, under(state, "tower.")), []
    if native and classes is not None:
        names = read_classes(classes, len(state["head.bias"]))
        head = nn.Linear(16, len(names))
        load_into(head, under(state, "head."), "the classifier's weights")
        heads.append(SourceHead("native", "linear", names, head))
    weights = state_digest(tower.state_dict())
    return SourceModel("network", reference.text, {"name": "network"}, tower, 16, tuple(heads), GEOMETRY, weights)
