"""The perturbation in the graph: every runtime pastes as the slow form does, and zeros as a fill change no bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import perturbing
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_specs import spec_of_module

from rate.backends.base import BackendSpec, Graph
from rate.backends.batches import INPUTS, clean_rows
from rate.backends.fake import FakeSpec
from rate.backends.onnxruntime import OrtSpec, open_session
from rate.backends.openvino import OpenVinoSpec
from rate.backends.ort_cuda import OrtCudaSpec
from rate.export.graph.onnx_walk import shape
from rate.export.graph.perturbed import bare_logits, dims
from rate.export.graph.torch_to_onnx import export_graph
from rate.kernels import reference
from rate.kernels.separable import Perturbation, occlusion, rise
from rate.types import INSIDE, OUTSIDE, Picture, Rows

SIZE = 20
torch.manual_seed(0)
HEADS = {"a": nn.Linear(8, 5), "b": nn.Linear(8, 3)}
FAMILIES = [rise(SIZE, 3), rise(SIZE, 9), occlusion(SIZE, 5, 3)]


class Small(nn.Module):
    """pixels [b,3,h,w] -> features [b,8]; no pixel is averaged away before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=5)
        self.mix = nn.Linear(8 * (SIZE // 5) ** 2, 8)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.mix(torch.tanh(self.conv(pixels)).flatten(1))


@pytest.fixture(scope="module")
def tower() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def graph(tower: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("perturbed") / "pixels.onnx"
    export_graph(tower, {f"logits_{name}": head for name, head in HEADS.items()}, SIZE, path)
    return Graph(path, tuple(HEADS), SIZE)


Make = Callable[[nn.Module, Graph], BackendSpec]
RUNTIMES: dict[str, Make] = {
    "fake": lambda tower, graph: FakeSpec(lambda images: bare_logits(tower, HEADS, images)),
    "torch": lambda tower, graph: spec_of_module(tower, HEADS, SIZE),
    "onnxruntime": lambda tower, graph: OrtSpec(graph, 1),
    "onnxruntime bound": lambda tower, graph: OrtCudaSpec(graph, "cpu", 1),
    "openvino": lambda tower, graph: OpenVinoSpec(graph, "f32", 1),
}


@pytest.mark.parametrize("make", RUNTIMES.values(), ids=RUNTIMES)
@pytest.mark.parametrize("perturbation", FAMILIES, ids=lambda family: f"{family.name} {family.side}")
@pytest.mark.parametrize("images", [2, 7])
def test_every_side_and_fill_is_what_the_slow_form_pastes(tower, graph, make, perturbation, images: int) -> None:
    pictures, rows = perturbing.pictures(images, SIZE), perturbing.draw(perturbation, images, 24)
    found = perturbing.run(make(tower, graph), perturbation, pictures, rows)
    expected = bare_logits(tower, HEADS, perturbing.by_hand(perturbation, pictures, rows))
    for name, logits in expected.items():
        np.testing.assert_allclose(found[name], logits, atol=1e-4)
        assert (np.abs(np.diff(logits, axis=0)).max(axis=1) > 1e-2).all(), "no row looks like the one before it"


@pytest.mark.parametrize("make", RUNTIMES.values(), ids=RUNTIMES)
def test_a_slot_has_the_region_it_was_given_last_and_none_without(tower, graph, make) -> None:
    masks, [image, fill] = rise(SIZE, 4), perturbing.pictures(2, SIZE)
    inside = replace(clean_rows(masks, np.zeros(1, np.int64)), fill=np.ones(1, np.int64), side=np.array([INSIDE]))
    left = np.zeros((SIZE, SIZE), np.uint8)
    left[:, : SIZE // 2] = 255
    found = []
    with make(tower, graph).open(masks, 2) as backend:
        backend.put(1, fill)
        for region in (left, 255 - left, None):
            backend.put(0, image, region)
            found.append(backend.submit(inside).wait()["a"][0])
        backend.put(0, image, left)
        backend.bind(masks, 2)
        backend.put(0, image)
        backend.put(1, fill)
        found.append(backend.submit(inside).wait()["a"][0])
    [one, other] = perturbing.pixels([image, fill])
    whole = np.where(left, one, other), np.where(left, other, one), other, other
    np.testing.assert_allclose(found, bare_logits(tower, HEADS, np.stack(whole))["a"], atol=1e-4)


def test_axes_are_free_and_shared_between_inputs(graph) -> None:
    model = onnx.load(graph.path, load_external_data=False)
    found = {value.name: shape(value) for value in model.graph.input}
    assert tuple(found) == INPUTS
    assert found == dims(SIZE)
    assert {axis for axes in found.values() for axis in axes if isinstance(axis, str)} == {"I", "B", "s", "T"}


class Product(nn.Module):
    """What a graph computed before it had fills: the product of image and mask, nothing else."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower, self.heads = tower, nn.ModuleList(HEADS.values())

    def forward(
        self, pixels: Tensor, slot: Tensor, grid: Tensor, offset: Tensor, table: Tensor, a: Tensor, b: Tensor
    ) -> tuple[Tensor, ...]:
        tall, wide = (table.index_select(0, offset[:, k]) for k in (0, 1))
        features = self.tower(pixels.index_select(0, slot) * (a + b * (tall @ grid @ wide.transpose(1, 2)))[:, None])
        return tuple(head(features) for head in self.heads)


@pytest.fixture(scope="module")
def product(tower: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[np.ndarray]]:
    path, dynamic = tmp_path_factory.mktemp("product") / "product.onnx", torch.export.Dim.DYNAMIC
    inputs = (
        torch.zeros(5, 3, SIZE, SIZE),
        torch.zeros(6, dtype=torch.int64),
        torch.ones(6, 11, 11),
        torch.zeros(6, 2, dtype=torch.int64),
        torch.ones(13, SIZE, 11),
        torch.tensor(0.0),
        torch.tensor(1.0),
    )
    names = ("pixels", "slot", "grid", "offset", "table", "a", "b")
    free = ({0: dynamic}, {0: dynamic}, {0: dynamic, 1: dynamic, 2: dynamic}, {0: dynamic}, {0: dynamic, 2: dynamic})
    torch.onnx.export(
        Product(tower).eval(), inputs, str(path), input_names=names, opset_version=20, dynamo=True,
        dynamic_shapes=(*free, {}, {}), verbose=False,
    )  # fmt: skip
    session = open_session(str(path), 1)

    def run(pixels: np.ndarray, rows: Rows, family: Perturbation) -> list[np.ndarray]:
        constants = {"table": family.table, "a": np.float32(family.a), "b": np.float32(family.b)}
        fed = {"pixels": pixels, "slot": rows.slot, "grid": rows.grid, "offset": rows.offset, **constants}
        found: list[np.ndarray] = session.run(None, {name: np.asarray(value) for name, value in fed.items()})
        return found

    return run


@pytest.mark.parametrize("perturbation", FAMILIES, ids=lambda family: f"{family.name} {family.side}")
def test_on_zeros_no_bit_differs_from_the_product_of_image_and_mask(graph, product, perturbation) -> None:
    images = [*perturbing.pictures(4, SIZE), Picture.of_colour(np.zeros(3, np.float32), SIZE)]
    drawn = perturbing.draw(perturbation, 4, 33)
    rows = Rows.under_masks(drawn.slot, drawn.grid, drawn.offset, fill=4)
    found = perturbing.run(OrtSpec(graph, 1), perturbation, images, rows)
    for name, expected in zip(HEADS, product(perturbing.pixels(images), rows, perturbation), strict=True):
        np.testing.assert_array_equal(found[name], expected)


def test_a_whole_picture_is_itself_to_the_last_bit_whatever_stands_behind_it(graph) -> None:
    masks, images = rise(SIZE, 4), perturbing.pictures(3, SIZE)
    plain = clean_rows(masks, np.arange(3))
    behind = replace(plain, fill=(plain.slot + 1) % 3)
    weight = np.array([0.0, 1.0, 1.0], np.float32)
    with OrtSpec(graph, 1).open(masks, 3) as backend:
        for slot, picture in enumerate(images):
            backend.put(slot, picture, np.full((SIZE, SIZE), 255 * weight[slot], np.uint8))
        expected = backend.submit(plain).wait()["a"]
        np.testing.assert_array_equal(backend.submit(behind).wait()["a"], expected)
        for side, share in ((INSIDE, weight), (OUTSIDE, 1.0 - weight)):
            found = backend.submit(replace(behind, side=np.full(3, side))).wait()["a"]
            np.testing.assert_array_equal(found, np.where(share[:, None] == 1.0, expected, expected[[1, 2, 0]]))


@settings(max_examples=25)
@given(seed=st.integers(0, 500))
def test_the_slow_form_swaps_as_the_slow_form_of_a_swap_does(seed: int) -> None:
    masks, images, regions = rise(8, 3), perturbing.pictures(3, 8, seed), perturbing.regions(3, 8)
    both = replace(perturbing.draw(masks, 3, 2, seed), slot=np.zeros(2, np.int64), fill=np.full(2, 2))
    both = replace(both, side=np.array([INSIDE, OUTSIDE]))
    found = reference.perturb(perturbing.pixels(images), regions, both, masks)
    np.testing.assert_allclose(found, reference.swap(images[0].pixels, regions[0], images[2].pixels), atol=1e-12)


def test_a_token_graph_has_no_use_for_fills_and_sides(tiny_vit) -> None:
    from rate.artifacts.artifact import load_artifact
    from rate.kernels.tokens import RiseTokens, patches

    masks = RiseTokens(32, 4, (0.5,), "fixed", 9, 0).draw("a", 0, 9)
    rows = Rows.under_masks(np.arange(9) % 3, masks.grid, masks.offset, fill=2)
    spec, images = OrtSpec(load_artifact(tiny_vit.artifact).graph("tokens"), 1), perturbing.pictures(3, 32)
    other = replace(rows, fill=np.zeros(9, np.int64), side=np.arange(9) % 3)
    found = [perturbing.run(spec, patches(32, 4), images, one)["zs"] for one in (rows, other)]
    np.testing.assert_array_equal(*found)
