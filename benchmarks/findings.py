"""The paper's question in small: what does fine-tuning do to PT and IR when the training set has a shortcut?

A dual encoder is trained on pictures whose scene says nothing (its pre-training), then adapted as the paper does, LP,
FT and FLCP, on pictures whose scene gives the class away in a share rho. Zero-shot (ZS) and the three are evaluated
under the same masks on pictures with the same shortcut and on pictures with the shortcut broken; every difference is
paired with ZS by sample.

    python -m benchmarks.findings [--work build/findings] [--seeds 3] [--test 240] [--score probability]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.process import usable_cores
from rate.config import Execution, Measurement
from rate.data.make.synth import CLASSES, Synthetic, write_set
from rate.demo import ENCODER, SIZE, SMALLEST
from rate.engine.evaluate import evaluate
from rate.engine.job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.export.export import ExportOptions, export_artifact
from rate.finetune.contrastive import FlcpSettings, finetune_flcp
from rate.finetune.full import FtSettings, finetune_ft
from rate.finetune.lp import LpSettings, finetune_lp
from rate.finetune.recipe import Watch
from rate.report.compare.pairing import states
from rate.report.heads import HeadRun, load_heads
from rate.runs.summary import ratio_json
from rate.statistics.metrics import Counts, accuracy, ir, pt
from rate.statistics.paired import difference, joint

METHODS = ("ZS", "LP", "FT", "FLCP")
SETTINGS = ("rho", "test", "seeds", "pretrain", "pretrain_epochs", "train", "epochs")
SPLITS = {"test": "same shortcut", "test-broken": "shortcut broken"}


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/findings"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rho", type=float, default=0.9)
    parser.add_argument("--test", type=int, default=240)
    parser.add_argument("--pretrain", type=int, default=4000, help="pictures of the pre-training")
    parser.add_argument("--pretrain-epochs", type=int, default=24)
    parser.add_argument("--train", type=int, default=2000, help="pictures of the adaptation")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--score", default="logit", help="what is explained: logit, or probability")
    arguments = parser.parse_args()
    runs = [_seed(arguments, seed) for seed in range(arguments.seeds)]
    rows = []
    for split, title in SPLITS.items():
        for method in METHODS:
            heads = [run[split][method] for run in runs]
            rows += [
                {"set": title, "method": method, **row} for row in _rows(heads, [run[split]["ZS"] for run in runs])
            ]
    record.write(
        "findings" if arguments.score == "logit" else f"findings_{arguments.score}",
        {
            "score": arguments.score,
            "rho": arguments.rho,
            "test": arguments.test,
            "seeds": arguments.seeds,
            "engine": _engine({head.folder: head for run in runs for split in run.values() for head in split.values()}),
            "rows": rows,
        },
    )


def _seed(arguments: argparse.Namespace, seed: int) -> dict[str, dict[str, HeadRun]]:
    """split -> method -> the evaluated head, for one seed of data, pre-training and adaptation."""
    folder = arguments.work / f"seed{seed}"
    clean = _pictures(folder / "clean", arguments.pretrain, 200, 1 / len(CLASSES), 100 + seed)
    shortcut = _pictures(folder / "shortcut", arguments.train, arguments.test, arguments.rho, 200 + seed)
    artifacts = _models(folder, clean, shortcut, seed, arguments)
    found: dict[str, dict[str, HeadRun]] = {split: {} for split in SPLITS}
    for name, artifact in artifacts.items():
        for split in SPLITS:
            out = folder / f"run-{name}-{split}{'' if arguments.score == 'logit' else f'-{arguments.score}'}"
            execution = Execution(save_maps=0)
            measurement = Measurement(verdict="map", score=arguments.score)
            job = job_from_artifact(artifact, shortcut, split, measurement, execution)
            with open_runner(artifact, job) as runner:
                evaluate(job, runner, out)
            for head in load_heads(str(out)):
                method = {"lp": "LP", "ft": "FT"}.get(head.head, "ZS" if name == "zs-lp" else "FLCP")
                found[split][method] = head
    return found


def _pictures(out: Path, train: int, test: int, rho: float, seed: int) -> Path:
    made = Synthetic(train=train, test=test, size=SIZE, shortcut="scene", rho=rho, seed=seed, smallest=SMALLEST)
    return out / "manifest.csv" if out.is_dir() else write_set(made, out, usable_cores())


def _models(folder: Path, clean: Path, shortcut: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Artifact]:
    config = folder / "encoder.json"
    config.write_text(json.dumps({"model_cfg": ENCODER, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
    base, watch = folder / "encoder", _watch(folder.name)
    if not base.is_dir():
        course = {"epochs": arguments.pretrain_epochs, "lr": 2e-3, "batch": 32}
        settings = FlcpSettings(split="train", val_split="test", augment=False, seed=seed, **course)
        finetune_flcp(f"open_clip:{config}", clean, base, settings, watch)
    if not (folder / "lp").is_dir():
        finetune_lp(str(base), shortcut, folder / "lp", LpSettings(split="train", seed=seed), watch)
    if not (folder / "ft").is_dir():
        ft = FtSettings(split="train", epochs=arguments.epochs, lr=1e-4, batch=64, augment=False, seed=seed)
        finetune_ft(str(base), shortcut, folder / "ft", ft, watch)
    if not (folder / "flcp").is_dir():
        flcp = FlcpSettings(split="train", epochs=arguments.epochs, lr=1e-4, batch=64, augment=False, seed=seed)
        finetune_flcp(str(base), shortcut, folder / "flcp", flcp, watch)
    return {
        "zs-lp": _exported(base, folder / "artifact-zs-lp", (f"lp=linear:{folder / 'lp'}",)),
        "ft": _exported(folder / "ft", folder / "artifact-ft"),
        "flcp": _exported(folder / "flcp", folder / "artifact-flcp"),
    }


def _exported(source: Path, out: Path, heads: tuple[str, ...] = ()) -> Artifact:
    return load_artifact(out) if out.is_dir() else export_artifact(str(source), out, ExportOptions(heads=heads))


def _watch(name: str) -> Watch:
    return Watch(
        epoch=lambda number, loss, right: print(f"{name}: epoch {number}, loss {loss:.3f}, right {right:.3f}"),
        validated=lambda number, right: print(f"{name}: epoch {number}, held out {right:.3f}", flush=True),
    )


def _rows(heads: list[HeadRun], base: list[HeadRun]) -> list[dict[str, Any]]:
    """One row a metric: every seed's value, the value of all seeds' samples together, the difference to ZS."""
    tables = [joint(states(zs.rows), states(head.rows)) for zs, head in zip(base, heads, strict=True)]
    pooled = sum((head.summary.counts for head in heads), Counts())
    rows = []
    for metric, ratio in (("accuracy", accuracy), ("pt", pt), ("ir", ir)):
        change = difference(metric, np.sum(tables, axis=0))
        uniform = [getattr(head.summary, metric).uniform for head in heads] if metric != "accuracy" else []
        rows.append(
            {
                "metric": metric,
                "seeds": [_rounded(ratio(head.summary.counts).value) for head in heads],
                "pooled": {name: _rounded(value) for name, value in ratio_json(ratio(pooled)).items()},
                "uniform": [_rounded(value) for value in uniform],
                "minus_zs": _rounded(change.value),
                "low": _rounded(change.low),
                "high": _rounded(change.high),
                "interval": change.method,
            }
        )
    return rows


def _engine(heads: dict[Path, HeadRun]) -> dict[str, Any]:
    """How full the batches were and how long the device waited, of all runs: the worst of each; mean forwards."""
    work = [head.whole.throughput for head in heads.values()]
    return {
        "runs": len(work),
        "least_batch_fill": round(min(one.batch_fill for one in work), 4),
        "longest_wait_for_data": round(max(one.waiting_for_data for one in work), 6),
        "forwards_of_a_sample": round(
            float(np.mean([np.mean(head.rows["forwards"].to_pylist()) for head in heads.values()])), 1
        ),
    }


def _rounded(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else round(value, 4)


if __name__ == "__main__":
    main()
