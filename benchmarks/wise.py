"""The weights between the demonstration's encoder, zero-shot, and its fine-tuning like pre-training (WiSE-FT).

The encoder learns from pictures whose scene names the class in 70 %, as the demonstration's does. FLCP goes on with
pictures whose scene names it in 90 %. Every alpha is evaluated on test pictures of that kind, and on the same pictures
with scenes that say nothing.

    python -m benchmarks.wise [--work build/wise] [--test 320] [--epochs 4]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import graded_models, record
from rate.cli.main import run
from rate.data.make.synth import Synthetic, write_set
from rate.demo import SIZE, SMALLEST
from rate.finetune.contrastive import FlcpSettings, finetune_flcp

SEEN = 0.9
ALPHAS = "0,0.25,0.5,0.75,1"
MEANS = ("object_only", "background_only", "gap")


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/wise"))
    parser.add_argument("--test", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    recipe = graded_models.Recipe("resnet", "scene", 0.7)
    base, tuned = graded_models.pretrained(arguments.work, recipe), arguments.work / "flcp"
    pictures = Synthetic(
        train=2000, test=arguments.test, size=SIZE, shortcut="scene", rho=SEEN, seed=300, smallest=SMALLEST
    )
    data = arguments.work / "tuning"
    manifest = data / "manifest.csv"
    if not manifest.exists():
        write_set(pictures, data)
    if not tuned.is_dir():
        settings = FlcpSettings(split="train", epochs=arguments.epochs, lr=2e-4, batch=64, augment=False, seed=0)
        finetune_flcp(str(base), manifest, tuned, settings)
    curves = {}
    for split in ("test", "test-broken"):
        out = arguments.work / f"curve-{split}"
        asked = ["grid", "wise", str(base), str(tuned), str(manifest), "--split", split, "--alphas", ALPHAS]
        if code := run([*asked, "--out", str(out)]):
            raise SystemExit(code)
        curves[split] = _curve(json.loads((out / "wise.json").read_text()))
    record.write(
        "wise",
        {
            "base": f"the demonstration's encoder, {recipe.course.epochs} epochs, the scene names the class in 70 %",
            "tuned": f"FLCP of it, {arguments.epochs} epochs, the scene names the class in {SEEN:.0%}",
            "images": arguments.test,
            "curves": curves,
        },
    )


def _curve(document: Any) -> list[dict[str, Any]]:
    points = []
    for one in document["runs"]:
        [head] = one["heads"].values()
        values = {name: head[name] for name in ("accuracy", "pt", "ir")} | {name: head["swap"][name] for name in MEANS}
        shown = {
            name: None if value["value"] is None else [round(value[key], 3) for key in ("value", "low", "high")]
            for name, value in values.items()
        }
        points.append({"alpha": one["alpha"], **shown})
    return points


if __name__ == "__main__":
    main()
