"""Relevance mass of a finished run against an independent slow computation.

Shares with the product only the masks' bits and offsets (`rate.masks`) and the rows it checks. Images go through
torchvision's transforms, masks are stretched in pixel space with scikit-image, the model is the PyTorch checkpoint on
explicitly masked images, maps are plain sums, regions are looked up pixel by pixel.

    python -m benchmarks.slow_check CHECKPOINT DATA RUN [--samples 20]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from skimage.transform import resize
from torchvision import transforms

import rate
from benchmarks import record
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run

TOLERANCE = 1e-4


def main() -> None:
    """Check and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="manifest .csv with one box a row")
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=20)
    arguments = parser.parse_args()
    document = json.loads((arguments.checkpoint / "checkpoint.json").read_text())
    model = load_model(arguments.checkpoint, document)
    run = read_run(arguments.run)
    settings = run.measurement
    assert settings["saliency"] == "rise"
    assert settings["explain"] == "label"
    assert settings["score"] == "logit"
    rows = [row for row in read_rows(arguments.run, run).to_pylist() if row["error"] is None]
    rows.sort(key=lambda row: hashlib.sha256(row["id"].encode()).digest())
    with arguments.data.open() as file:
        boxes = {line["image"]: [float(line[c]) for c in ("x0", "y0", "x1", "y1")] for line in csv.DictReader(file)}
    differences = {"rma_positive": 0.0, "rma_minmax": 0.0}
    chosen = rows[: arguments.samples]
    for number, row in enumerate(chosen, 1):
        path = arguments.data.parent / row["id"]
        label = document["classes"].index(row["label"])
        own = settings | {"masks": row["forwards"] - 1}
        found = slow_rma(model, document["input"], path, boxes[row["id"]], label, own, row["id"])
        for name, value in found.items():
            differences[name] = max(differences[name], abs(value - row[name]))
        pairs = ", ".join(f"{name} {value:.6f} ({row[name]:.6f})" for name, value in found.items())
        print(f"{number}/{len(chosen)} {row['id']}: {pairs}")
    figures = {
        "samples": len(chosen),
        "masks": settings["masks"],
        "max_abs_difference": {name: float(f"{value:.3g}") for name, value in differences.items()},
        "tolerance": TOLERANCE,
    }
    record.write("slow_check", figures)
    assert max(differences.values()) < TOLERANCE


def load_model(checkpoint: Path, document: dict) -> torch.nn.Module:
    """The PyTorch model of a timm checkpoint folder: tower, then linear head."""
    state = load_file(checkpoint / "model.safetensors")
    tower = timm.create_model(document["model"]["name"], pretrained=False, num_classes=0)
    tower.load_state_dict({k.removeprefix("tower."): v for k, v in state.items() if k.startswith("tower.")})
    weight, bias = state["head.weight"], state["head.bias"]
    head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return torch.nn.Sequential(tower, head).eval()


@torch.inference_mode()
def slow_rma(
    model: torch.nn.Module, geometry: dict, path: Path, box: list[float], label: int, settings: dict, sample_id: str
) -> dict[str, float]:
    """Relevance mass of both evidences, by definition."""
    size, short = geometry["size"], geometry["resize"]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    mode = transforms.InterpolationMode(geometry["interpolation"])
    pipeline = transforms.Compose(
        [
            transforms.Resize(short, mode),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(geometry["mean"], geometry["std"]),
        ]
    )
    pixels = pipeline(image)
    drawn = rate.masks(
        sample_id,
        0,
        settings["masks"],
        size=size,
        grid=settings["grid"],
        keep=tuple(settings["keep"]),
        cells=settings["cells"],
        seed=settings["seed"],
    )
    side = settings["grid"]
    cell = -(-size // side)
    masks = np.empty((len(drawn.grid), size, size))
    for n, (grid, (y, x)) in enumerate(zip(drawn.grid, drawn.offset, strict=True)):
        stretched = resize(grid, ((side + 1) * cell,) * 2, order=1, mode="reflect", anti_aliasing=False)
        masks[n] = stretched[y : y + size, x : x + size]
    scores = np.concatenate(
        [
            model(pixels * torch.from_numpy(part[:, None]).float())[:, label].double().numpy()
            for part in np.array_split(masks, -(-len(masks) // 50))
        ]
    )
    saliency = sum(score * mask for score, mask in zip(scores, masks, strict=True))  # its scale cancels
    covariance = np.zeros((size, size))
    for turn in range(len(settings["keep"])):
        own = slice(turn, None, len(settings["keep"]))
        mean_mask, mean_score = masks[own].mean(axis=0), scores[own].mean()
        for score, mask in zip(scores[own], masks[own], strict=True):
            covariance += (score - mean_score) * (mask - mean_mask)
    region = region_of(box, image.size, size, short)
    positive = np.maximum(covariance, 0)
    scaled = (saliency - saliency.min()) / (saliency.max() - saliency.min())
    return {
        "rma_positive": float(positive[region].sum() / positive.sum()),
        "rma_minmax": float(scaled[region].sum() / scaled.sum()),
    }


def region_of(box: list[float], original: tuple[int, int], size: int, short: int) -> np.ndarray:
    """[size,size] pixels whose centre, mapped back to the original image, lies in the box."""
    width, height = original
    if width <= height:
        wide, tall = short, int(short * height / width)
    else:
        wide, tall = int(short * width / height), short
    left, top = round((wide - size) / 2.0), round((tall - size) / 2.0)
    region = np.zeros((size, size), bool)
    for row in range(size):
        for column in range(size):
            x, y = (column + left + 0.5) * width / wide, (row + top + 0.5) * height / tall
            region[row, column] = box[0] <= x < box[2] and box[1] <= y < box[3]
    return region


if __name__ == "__main__":
    main()
