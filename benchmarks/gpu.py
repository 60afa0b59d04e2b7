"""One command for a machine with a GPU: is everything right on this card, and how much of the card is used?

A vision transformer with random weights is exported in fp16 with a TensorRT plan. Every runtime is put to the
self-test, then torch, ONNX Runtime and TensorRT are measured in fp16, each alone and under the engine, in rounds that
take turns (`rate bench`). Beside them stand what the card can do at most (a copy, a matrix product), the bare tower in
torch, and trtexec on the same plan where it is found. It needs no network. What would begin after --minutes is left
out, and named; the exit code is 1 when a runtime did not compute what the source computes.

    python -m benchmarks.gpu [--model NAME] [--minutes 10] [--out FOLDER] [--cpu-smoke]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gpu_ceilings import Figures
    from rate.artifacts.artifact import Artifact
    from rate.bench.document import BenchDocument

BUILD_S = 240.0
"""Seconds that a plan may take; a build that takes longer is ended."""


@dataclass(frozen=True)
class Scale:
    """What is measured, on a card or in a trial on the CPU."""

    model: str
    device: str
    checked: tuple[tuple[str, str], ...]  # backend and precision of the self-tests
    measured: tuple[str, ...]  # backends
    precision: str
    batch: tuple[int, ...]
    masks: int
    rounds: int
    seconds: float  # of one measurement
    copied: int  # bytes
    matrix: int  # side


CARD = Scale(
    "vit_base_patch16_224",
    "cuda",
    (
        *(("torch-cuda", precision) for precision in ("f32", "fp16", "bf16")),
        *(("onnxruntime-cuda", precision) for precision in ("f32", "fp16")),
        ("tensorrt", "fp16"),
    ),
    ("tensorrt", "onnxruntime-cuda", "torch-cuda"),
    "fp16",
    (64, 256),
    1024,
    3,
    3.0,
    1 << 30,
    8192,
)

SMOKE = Scale(
    "test_vit",
    "cpu",
    (("torch", "f32"), ("onnxruntime", "f32")),
    ("onnxruntime",),
    "f32",
    (4,),
    8,
    2,
    0.01,
    1 << 16,
    64,
)


def main() -> None:
    """Check, measure, print, record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", help=f"a vision transformer of timm; {CARD.model}")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which nothing is begun")
    parser.add_argument("--out", type=Path, help="folder of the JSON file; benchmarks/results unless --cpu-smoke")
    parser.add_argument("--cpu-smoke", action="store_true", help="a tiny model on the CPU: proves the script, no more")
    arguments = parser.parse_args()
    import torch

    if not arguments.cpu_smoke and not torch.cuda.is_available():
        parser.error(
            f"no CUDA device: torch {torch.__version__} (built for {torch.version.cuda or 'the CPU alone'}) sees none; "
            "`rate doctor` says what is missing, docs/gpu.md what to install, and --cpu-smoke tries this script without"
        )
    from benchmarks import record

    scale = SMOKE if arguments.cpu_smoke else CARD
    ends = time.monotonic() + 60 * arguments.minutes
    figures = measured(scale, arguments.model or scale.model, lambda: ends - time.monotonic())
    folder = arguments.out or (Path("build") if arguments.cpu_smoke else record.RESULTS)
    slug = re.sub(r"\W+", "_", str(figures["card"]["name"])).strip("_").lower()
    record.write(f"gpu_{slug}", figures, folder)
    print(*lines(figures), sep="\n")
    sys.exit(1 if any(check["passed"] is False for check in figures["checks"]) else 0)


def measured(scale: Scale, model: str, left: Callable[[], float]) -> dict[str, Any]:
    """Every section in turn, each announced; ``left`` tells the seconds that remain."""
    from benchmarks import gpu_ceilings, photographs
    from rate.artifacts.artifact import load_artifact
    from rate.export.export import ExportOptions, export_artifact
    from rate.records import plain

    figures: dict[str, Any] = {"card": gpu_ceilings.card(scale.device), "model": model, "precision": scale.precision}
    with tempfile.TemporaryDirectory() as name:
        announce("ceilings", left)
        figures["ceilings"] = gpu_ceilings.ceilings(scale.device, scale.copied, scale.matrix)
        figures["tower"] = gpu_ceilings.tower(scale.device, model, scale.batch[-1])
        announce("export", left)
        _, classes = photographs.write(Path(name), 1, 1000)
        options = ExportOptions(classes=classes, precision=scale.precision)
        path = export_artifact(f"timm:{model}", Path(name) / "artifact", options).path
        announce("plan", left)
        figures["plan"], plan = built(load_artifact(path), scale, left)
        announce("checks", left)
        figures["checks"] = list(checks(load_artifact(path), scale, left))
        announce("runtimes", left)
        figures["bench"] = plain(bench(load_artifact(path), scale)) if left() > 0 else None
        announce("trtexec", left)
        figures["trtexec"] = gpu_ceilings.trtexec(plan, max(scale.batch), left())
    return figures


def built(artifact: Artifact, scale: Scale, left: Callable[[], float]) -> tuple[Figures, Any]:
    """Build the plan; figures, and the plan or None. A build that takes too long is ended."""
    from rate.errors import RateError
    from rate.export.tensorrt import build_plan

    if "tensorrt" not in scale.measured:
        return {"built": False, "why": "no plan is built for a CPU"}, None
    began = time.monotonic()

    def observe(share: float, phase: str) -> None:
        if (took := time.monotonic() - began) > BUILD_S or left() <= 0:
            raise TimeoutError(f"the build was ended after {took:.0f} s, at {100 * share:.0f} %")

    try:
        plan = build_plan(artifact, scale.precision, scale.batch, announce, observe)
    except (RateError, TimeoutError) as error:  # the others are measured without
        return {"built": False, "why": str(error)}, None
    return {"built": True, "seconds": plan.made.seconds, "bytes": plan.made.bytes, "graphs": plan.capture}, plan


def checks(artifact: Artifact, scale: Scale, left: Callable[[], float]) -> Iterator[Figures]:
    """The self-test of every runtime; ``passed`` is None where it is not there, or no time was left."""
    from rate.engine.choose_backend import open_backend
    from rate.errors import ParityError, RateError
    from rate.execution import Execution

    for backend, precision in scale.checked:
        row: Figures = {"backend": backend, "precision": precision, "passed": None, "why": ""}
        if left() <= 0:
            yield row | {"why": "no time was left"}
            continue
        try:
            with open_backend(artifact, Execution(backend, precision, device=scale.device)):
                yield row | {"passed": True}
        except ParityError as error:
            yield row | {"passed": False, "why": str(error)}
        except RateError as error:
            yield row | {"why": str(error)}


def bench(artifact: Artifact, scale: Scale) -> BenchDocument:
    """`rate bench` of the runtimes in one precision, in rounds that take turns."""
    from rate.bench.measure import document_of, measure, warmed_up
    from rate.bench.nvml import GpuSampler
    from rate.bench.plan import open_candidates, parity_images
    from rate.bench.settings import BenchSettings

    settings = BenchSettings(
        batch=scale.batch,
        masks=(scale.masks,),
        backend=scale.measured,
        precision=(scale.precision,),
        device=scale.device,
        rounds=scale.rounds,
        seconds=scale.seconds,
    )
    images, sampler = parity_images(artifact), GpuSampler()
    with (
        open_candidates(artifact, settings, announce) as (backends, refused),
        warmed_up(settings, images, backends, announce) as meters,
        sampler.sampling(),
    ):
        rows = measure(meters, settings.rounds)
    return document_of(artifact, images, rows, refused, sampler.states)


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The figures for a person; those of `rate bench` beside the ceilings."""
    card, most, tower = figures["card"], figures["ceilings"], figures["tower"]
    yield f"\n{card['name']}, torch {card['torch']}, CUDA {card['cuda']}; {figures['model']} in {figures['precision']}"
    yield from _checks(figures["checks"])
    if not figures["plan"]["built"]:
        yield f"no plan: {figures['plan']['why']}"
    yield (
        f"ceilings: copy {most['copy_gb_per_s']:.4g} GB/s, matrix product {most['tflop_per_s']:.4g} TFLOP/s; "
        f"bare tower in torch {tower['forwards_per_s']:.4g} forwards/s, "
        f"{_share(tower['forwards_per_s'], figures):.3f} of the product"
    )
    trtexec = figures["trtexec"]
    best = trtexec.get("forwards_per_s")
    yield f"trtexec: {best:.4g} forwards/s" if best else f"trtexec: not measured: {trtexec['why']}"
    if figures["bench"] is None:
        yield "runtimes: no time was left"
        return
    yield ""
    for row in figures["bench"]["rows"]:
        raw, engine = (row[f"{name}_forwards_per_s"]["median"] for name in ("raw", "engine"))
        yield (
            f"{row['backend']} {row['precision']} batch {row['batch']}: raw {raw:.4g}, engine {engine:.4g} forwards/s; "
            f"{row['engine_over_raw']['median']:.3f} of raw, {_share(engine, figures):.3f} of the product"
            + (f", {engine / best:.3f} of trtexec" if best else "")
        )
    yield from (f"refused: {one['backend']} {one['precision']}: {one['reason']}" for one in figures["bench"]["refused"])
    yield from (str(one) for one in figures["bench"]["gpus"])


def _share(forwards_per_s: float, figures: dict[str, Any]) -> float:
    """The share of the matrix ceiling: operations of a forward are those of its products, counted by torch."""
    return float(forwards_per_s * figures["tower"]["flop"] / 1e12 / figures["ceilings"]["tflop_per_s"])


def _checks(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"checks: {sum(row['passed'] is True for row in rows)} of {len(rows)} passed"
    for row in rows:
        if row["passed"] is not True:
            state = "not tried" if row["passed"] is None else "FAILED"
            yield f"  {state}: {row['backend']} {row['precision']}: {row['why']}"


def announce(what: str, left: Callable[[], float] | None = None) -> None:
    """A line of progress."""
    print(what if left is None else f"{what} ... ({left():.0f} s left)", file=sys.stderr)


if __name__ == "__main__":
    main()
