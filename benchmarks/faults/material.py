"""A tiny model, its artifact, sets in every form and finished runs: made once, read by all cases."""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.faults.process import rate
from benchmarks.faults.rows import contents

SIDE = 32
CLASSES = ("red", "green", "blue")
MEASURE = ("--masks", "24", "--grid", "4", "--seed", "3", "--save-maps", "4")
EXECUTE = ("--batch", "32", "--threads", "1", "--backend", "onnxruntime", "--precision", "f32")
EXPORT = (
    "--size",
    str(SIDE),
    "--mean",
    ".5,.5,.5",
    "--std",
    ".25,.25,.25",
    "--interpolation",
    "bilinear",
    "--crop-pct",
    "1",
)
POLICY = """
[[check]]
metric = "accuracy"
min = 0.2
use = "ci_low"

[[check]]
metric = "pt"
min = 0.5
use = "value"

[[check]]
metric = "errors"
max = 0
"""


def evaluation(artifact: Path | str, data: Path | str, out: str, *more: str) -> list[str]:
    """The command line of an evaluation of the tiny model."""
    return ["eval", str(artifact), str(data), "--out", out, *MEASURE, *EXECUTE, *more]


@dataclass(frozen=True)
class Material:
    """Where it lies. What takes long is made when it is asked for first."""

    root: Path

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder of that name, made once."""
        folder = self.root / name
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
        return folder

    @cached_property
    def model(self) -> Path:
        """model.onnx with classes.txt beside it."""
        return self.made("model", write_model) / "model.onnx"

    @cached_property
    def artifact(self) -> Path:
        """The model, exported."""
        export = ["export", f"onnx:{self.model}", "--out", "artifact", "--classes", str(self.classes), *EXPORT]
        return self.made("export", lambda folder: succeed(export, folder)) / "artifact"

    @property
    def classes(self) -> Path:
        """Names, one a line."""
        return self.model.with_name("classes.txt")

    def images(self, count: int = 24) -> Path:
        """A folder of images, masks, and manifests with boxes: manifest.csv, .jsonl and .parquet, masks.csv."""
        return self.made(f"set-{count}", lambda folder: write_set(folder, count))

    @cached_property
    def run(self) -> Path:
        """A finished run of several parts."""
        command = evaluation(self.artifact, self.images() / "manifest.csv", "run")
        return self.made("finished", lambda folder: succeed(command, folder)) / "run"

    @cached_property
    def run_contents(self) -> dict[str, Any]:
        """What it holds."""
        return contents(self.run)

    @cached_property
    def checkpoint(self) -> Path:
        """A linear probe of a small timm tower."""
        source = "timm:test_efficientnet"
        train = [
            "finetune",
            "lp",
            source,
            str(self.images() / "manifest.csv"),
            "--out",
            "checkpoint",
            "--epochs",
            "2",
            "--split",
            "train",
        ]
        return self.made("finetune", lambda folder: succeed(train, folder)) / "checkpoint"


def succeed(arguments: Sequence[str], folder: Path) -> None:
    """Run a command that must work, or nothing can be tried."""
    ended = rate(list(arguments), folder)
    if ended.code:
        raise SystemExit(f"rate {ended.command} ended with {ended.code}: {ended.said}")


def write_model(folder: Path) -> None:
    """A classifier of colours, which looks at the upper left half more than at the rest."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(5)
    weights = {
        "kernel": rng.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32),
        "shape": np.array([0, -1], np.int64),
        "linear": rng.normal(0, 0.05, (6 * 64, len(CLASSES))).astype(np.float32),
    }
    for k in range(3):
        weights["kernel"][k, :, 1, 1] = 3 * np.eye(3, dtype=np.float32)[k]
        weights["linear"][k * 64 : k * 64 + 32, k] += 0.5
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("AveragePool", ["relu"], ["pool"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Reshape", ["pool", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "linear"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(CLASSES)])
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "colours", [image], [logits], stored)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def write_set(folder: Path, count: int, seed: int = 0) -> None:
    """Squares of a class's colour on noise; some labels are wrong."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(count):
        image = rng.integers(60, 160, (40, 40 + k % 3, 3)).astype(np.uint8)
        x, y = rng.integers(0, 20, 2).tolist()
        image[y : y + 16, x : x + 16, k % 3] = 255
        label = CLASSES[(k + (k % 7 == 6)) % 3]
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[y : y + 16, x : x + 16] = 255
        Image.fromarray(image).save(folder / f"{k}.png")
        Image.fromarray(mask).save(folder / f"{k}-mask.png")
        rows.append(
            {"id": f"s{k}", "image": f"{k}.png", "label": label, "split": "train", "boxes": [[x, y, x + 16, y + 16]]}
        )
    write_manifests(folder, rows)


def write_manifests(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The same rows in every form, a tar and a Parquet file with the images among them."""
    texts = [row | {"boxes": json.dumps(row["boxes"])} for row in rows]
    (folder / "manifest.csv").write_text(csv_of(texts))
    masks = [{k: v for k, v in row.items() if k != "boxes"} | {"mask": f"{row['id'][1:]}-mask.png"} for row in rows]
    (folder / "masks.csv").write_text(csv_of(masks))
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "manifest.parquet")
    held = [row | {"image": {"bytes": (folder / row["image"]).read_bytes(), "path": row["image"]}} for row in rows]
    pq.write_table(pa.Table.from_pylist(held), folder / "images.parquet", row_group_size=8)
    (folder / "set.tar").write_bytes(tar_of(folder, rows))


def csv_of(rows: Sequence[dict[str, Any]]) -> str:
    """Every cell quoted."""
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    return "".join(",".join('"' + str(cell).replace('"', '""') + '"' for cell in line) + "\n" for line in lines)


def tar_of(folder: Path, rows: Sequence[dict[str, Any]]) -> bytes:
    """A WebDataset shard."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for row in rows:
            about = json.dumps({"label": row["label"], "boxes": row["boxes"]}).encode()
            for name, data in (
                (f"{row['id']}.png", (folder / row["image"]).read_bytes()),
                (f"{row['id']}.json", about),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def copied(source: Path, target: Path) -> Path:
    """A copy that a case may change."""
    if source.is_dir():
        return Path(shutil.copytree(source, target))
    return Path(shutil.copy2(source, target))


def drawn(items: Sequence[Any], seed: str) -> list[Any]:
    """All of them in a random order that is always the same, so that a part of the cases is a fair sample."""
    found = list(items)
    random.Random(seed).shuffle(found)
    return found
