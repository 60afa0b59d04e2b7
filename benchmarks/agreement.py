"""Do swaps, masks and the paper's own explainer, gradient-weighted attention, give the same verdicts?

Three vision transformers: two whose reasons are planted (`benchmarks.planted`: one can only use the object, one only
the tag in the corner, so PT should be 1 and 0), and a small CLIP trained on the demo's pictures, in which the scene
often gives the class away. The demo's own tower is a ResNet, which has no attention to read, so the CLIP here has a
transformer in its place. Every model is measured by swaps, by RISE under its default rule and under the paper's,
and by attention under the paper's.

    python -m benchmarks.agreement [--work build/agreement] [--planted build/planted] [--images 160]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import rate
from benchmarks import planted, record
from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.process import usable_cores
from rate.data.make.synth import Synthetic, write_set
from rate.demo import ENCODER, RHO, SIZE, SMALLEST
from rate.export.export import ExportOptions, export_artifact
from rate.finetune.contrastive import FlcpSettings, finetune_flcp
from rate.finetune.recipe import Watch
from rate.records import plain
from rate.report.compare.agreement import agreement
from rate.report.heads import HeadRun, load_head

MEASURED: dict[str, dict[str, Any]] = {
    "swap": {},
    "rise": {"verdict": "map"},
    "rise-paper-rule": {"masks": 500, "evidence": "minmax", "valid": "absolute"},
    "attention": {"saliency": "attention"},
}
PAIRS = (
    ("swap", "rise"),
    ("swap", "attention"),
    ("rise", "attention"),
    ("rise-paper-rule", "attention"),
    ("rise", "rise-paper-rule"),
)

TOWER = {"image_size": SIZE, "layers": 4, "width": 96, "head_width": 32, "patch_size": 8}
"""64 patches and a class token."""


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/agreement"))
    parser.add_argument("--planted", type=Path, default=Path("build/planted"), help="what benchmarks.planted_runs left")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--train", type=int, default=4000, help="pictures for the CLIP")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    tags = planted.agreeing(arguments.planted, "vit", "tag", 300)
    models = {
        f"planted, {reason}": (planted.model(arguments.planted, "vit", reason), tags) for reason in ("object", "tag")
    }
    models["small CLIP"] = clip(arguments)
    figures = {}
    for number, (name, (artifact, data)) in enumerate(models.items()):
        runs = measured(artifact, data, arguments.work / f"runs-{arguments.images}-{number}", arguments.images)
        figures[name] = {
            "accuracy": plain(runs["rise"].summary.document.accuracy),
            "pt": {measure: plain(run.summary.pt.document) for measure, run in runs.items()},
            "ir": {measure: plain(run.summary.ir.document) for measure, run in runs.items()},
            "agreement": {f"{one} / {other}": held(runs[one], runs[other]) for one, other in PAIRS},
        }
    record.write("agreement", {"images": arguments.images, "settings": MEASURED, "models": figures})


def clip(arguments: argparse.Namespace) -> tuple[Artifact, Path]:
    """The small CLIP and its test pictures; made once."""
    work: Path = arguments.work
    pictures = Synthetic(
        train=arguments.train, test=400, size=SIZE, shortcut="scene", rho=RHO, seed=1, smallest=SMALLEST
    )
    if not (work / "pictures").is_dir():
        write_set(pictures, work / "pictures", usable_cores())
    data = work / "pictures" / "manifest.csv"
    if not (work / "artifact").is_dir():
        config = work / "encoder.json"
        model = ENCODER | {"vision_cfg": TOWER}
        config.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
        settings = FlcpSettings(split="train", epochs=arguments.epochs, lr=1e-3, batch=32, augment=False)
        said = Watch(epoch=lambda number, loss, right: print(f"epoch {number}, loss {loss:.3f}", flush=True))
        finetune_flcp(f"open_clip:{config}", data, work / "checkpoint", settings, said)
        export_artifact(str(work / "checkpoint"), work / "artifact", ExportOptions())
    return load_artifact(work / "artifact"), data


def measured(artifact: Artifact, data: Path, out: Path, images: int) -> dict[str, HeadRun]:
    """The same pictures by every measure; runs that are there go on."""
    found = {}
    for name, settings in MEASURED.items():
        rate.evaluate(artifact.path, data, out / name, split="test", limit=images, precision="f32", **settings)
        found[name] = load_head(str(out / name))
    return found


def held(first: HeadRun, second: HeadRun) -> dict[str, Any]:
    """Equal verdicts with their interval, kappa, and the rank correlation of shares or relevance masses."""
    whole = plain(agreement(first, second))
    return {name: whole[name] for name in ("judged", "table", "equal", "kappa", "rank_correlation")}


if __name__ == "__main__":
    main()
