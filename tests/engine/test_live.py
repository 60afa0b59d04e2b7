"""A module that is being trained is evaluated as it is, and stays as it is."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import rate
from rate.errors import ConfigError, RunError, UsageError

FEW = {"verdict": "map", "masks": 10, "threads": 1}
CLASSES = ["dark", "light"]


class Net(nn.Module):
    """What training has and evaluation must not use or touch: batch statistics, dropout, a cache, a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 5, 2), nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
        self.conv.bias.requires_grad_(False)
        self.seen: Tensor | None = None

    def forward(self, pixels: Tensor) -> Tensor:
        if self.seen is None:
            self.seen = self.norm.weight * 1.0
        return self.head((self.norm(self.conv(pixels)) * self.seen[:, None, None]).relu().mean((2, 3)))


def trained_once(seed: int = 0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Net().train()
        net.head.eval()  # one part is frozen on purpose
        net(torch.randn(4, 3, 32, 32)).sum().backward()
    net.seen = None
    return net


@dataclass
class Around:
    """What was before an evaluation, and what is after it."""

    before: dict[str, Any]
    after: dict[str, Any]
    net: Net
    run: Path


def write_set(folder: Path) -> Path:
    folder.mkdir()
    rng, lines = np.random.default_rng(0), ["image,label,x0,y0,x1,y1"]
    for k in range(12):
        Image.fromarray(rng.integers(0, 128, (40, 44, 3), np.uint8) + np.uint8(127 * (k % 2))).save(folder / f"{k}.png")
        lines.append(f"{k}.png,{CLASSES[k % 2]},4,4,24,30")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


def state_of(net: Net) -> dict[str, Any]:
    return {
        "mode": {name: part.training for name, part in net.named_modules()},
        "device and type": {name: (value.device, value.dtype) for name, value in net.named_parameters()},
        "the tensors themselves": [value.data_ptr() for value in (*net.parameters(), *net.buffers())],
        "weights and batch statistics": {name: value.clone() for name, value in net.state_dict().items()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()},
        "what is trained": {name: value.requires_grad for name, value in net.named_parameters()},
        "caches": net.seen,
        "torch's generator": torch.get_rng_state(),
        "numpy's generator": vars(np.random)["get_state"]()[1],
        "python's generator": random.getstate(),
        "settings of torch": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()),
    }


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Around:
    root = tmp_path_factory.mktemp("live")
    manifest, net = write_set(root / "set"), trained_once()
    before = state_of(net)
    rate.open(net, classes=CLASSES, size=32).evaluate(manifest, root / "run", **FEW)
    return Around(before, state_of(net), net, root / "run")


@pytest.mark.parametrize("what", state_of(trained_once()))
def test_an_evaluation_leaves(around: Around, what: str) -> None:
    assert np.all(_equal(around.before[what], around.after[what]))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, Tensor | np.ndarray):
        return bool((one == other).all())
    return bool(one == other)


def test_training_goes_on_as_if_there_had_been_no_evaluation(around: Around) -> None:
    other = deepcopy(around.net)
    rate.open(other, classes=CLASSES, size=32).evaluate(around.run.parent / "set" / "manifest.csv", **FEW)
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    losses = []
    for net in (other, deepcopy(around.net)):
        with torch.random.fork_rng():
            torch.manual_seed(2)
            losses.append(net.train()(pixels).square().sum())
        losses[-1].backward()
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "surroundings",
    [lambda: torch.autocast("cpu", torch.bfloat16), torch.inference_mode, torch.no_grad],
    ids=["autocast", "inference mode", "no grad"],
)
def test_what_surrounds_the_call_changes_no_row(
    around: Around, surroundings: Callable[[], Any], tmp_path: Path
) -> None:
    with surroundings():
        opened = rate.open(around.net, classes=CLASSES, size=32)
        opened.evaluate(around.run.parent / "set" / "manifest.csv", tmp_path / "run", **FEW)
    assert rate.load_run(tmp_path / "run").rows().equals(rate.load_run(around.run).rows())


def test_each_evaluation_is_of_the_weights_of_its_moment(around: Around, tmp_path: Path) -> None:
    net, manifest = trained_once(1), around.run.parent / "set" / "manifest.csv"
    opened = rate.open(net, classes=CLASSES, size=32)
    [said, *_] = opened.evaluate(manifest, tmp_path / "run", **FEW).notices
    assert said.startswith("assumed --mean 0.485,0.456,0.406")
    opened.evaluate(manifest, tmp_path / "run", **FEW)  # resumed: nothing is left to do
    with torch.no_grad():
        net.head[1].weight.neg_()
    with pytest.raises(RunError, match="other settings"):
        opened.evaluate(manifest, tmp_path / "run", **FEW)


def test_it_has_the_rows_of_the_exported_model(
    around: Around, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = around.run.parent / "set" / "manifest.csv"
    with caplog.at_level(logging.WARNING, logger="rate"):  # another library may have set the level of all loggers
        artifact = rate.export(around.net, tmp_path / "artifact", classes=CLASSES, size=32)
    assert (artifact.family, artifact.source, artifact.request) == ("module", "module:Net", None)
    assert "assumed --mean 0.485,0.456,0.406" in caplog.text
    assert around.net.seen is None
    rate.evaluate(artifact.path, manifest, tmp_path / "run", backend="onnxruntime", **FEW)
    live, exported = (rate.load_run(run).rows() for run in (around.run, tmp_path / "run"))
    for name in ("id", "prediction", "valid"):
        assert live[name].equals(exported[name])
    for name in ("probability", "rma_positive"):
        assert np.allclose(live[name], exported[name], atol=1e-4)
    with pytest.raises(UsageError, match="from which no PyTorch model can be opened"):
        rate.evaluate(artifact.path, manifest, backend="torch", **FEW)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "openvino"}, "evaluated by torch in f32, not by openvino in auto"),
        ({"precision": "int8"}, "not by auto in int8"),
        ({"workers": 2}, "in this process alone"),
        ({"saliency": "attention"}, "saliency attention needs an exported model"),
        ({"maks": 2}, "unknown setting maks"),
    ],
)
def test_what_needs_an_exported_model_is_refused(around: Around, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rate.open(around.net, classes=CLASSES, size=32).evaluate("manifest.csv", **settings)


def test_an_artifact_takes_no_description_of_a_module(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="size, classes: an artifact says these itself"):
        rate.open(tmp_path, size=32, classes=CLASSES)
