"""The demonstration: from nothing, offline, to two heads of which one is right for the wrong reasons.

A small CLIP-style dual encoder is trained on synthetic pictures in which a tag in the corner says nothing. A linear
probe on its tower is then trained where the tag gives the class away. Both heads share one export and one run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rate.backends.cores import usable_cores
from rate.config import Execution, Measurement
from rate.data.synth import CLASSES, Synthetic, write_set
from rate.engine.job import job_from_artifact
from rate.engine.pipeline import evaluate
from rate.engine.select import spec_for
from rate.engine.summary import HeadSummary, Summary
from rate.errors import DataError
from rate.export.api import ExportOptions, export_artifact
from rate.export.artifact import Artifact
from rate.finetune.contrastive import FlcpSettings, finetune_flcp
from rate.finetune.lp import LpSettings, finetune_lp
from rate.finetune.recipe import Watch

SIZE = 64
SMALLEST = 0.12
"""Area of the smallest object: at 64 pixels, smaller ones cannot be told apart."""

ENCODER = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
"""A ResNet of one block a stage beside a one-block text transformer, in open_clip's own format."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what."""

    say: Callable[[str], None] = lambda text: None  # the title of a step
    step: Callable[[str, int, int], None] = lambda title, done, total: None  # progress within it


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How large it is; the defaults take minutes on two cores."""

    train: int = 2000  # images for the encoder, and as many for the probe
    test: int = 160
    epochs: int = 24
    masks: int = 400
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Demo:
    """What came of it."""

    folder: Path
    artifact: Artifact
    agreeing: Summary  # the tag agrees with the class
    broken: Summary  # the tag says nothing
    commands: tuple[str, ...] = field(default=())  # what to run next


def run_demo(folder: Path, settings: DemoSettings, listener: Listener) -> Demo:
    """Make the data, train, export, evaluate; everything stays in ``folder``.

    Raises:
        DataError: ``folder`` exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder; give another --out, or remove it")
    plain, shortcut = _pictures(folder, settings, listener)
    artifact = _models(folder, plain, shortcut, settings, listener)
    listener.say("evaluating both heads in one run, first where the tag agrees with the class")
    agreeing = _evaluated(artifact, shortcut, "test", folder / "run", settings, listener)
    listener.say("and where the tag says nothing")
    broken = _evaluated(artifact, shortcut, "test-broken", folder / "run-broken", settings, listener)
    return Demo(folder, artifact, agreeing, broken, _commands(folder))


def _pictures(folder: Path, settings: DemoSettings, listener: Listener) -> tuple[Path, Path]:
    listener.say("drawing pictures: shapes on scenes, with a coloured tag in the corner")
    manifests = []
    for name, rho, seed in (("plain", 1 / len(CLASSES), 0), ("shortcut", 1.0, 1)):
        made = Synthetic(
            train=settings.train,
            test=settings.test,
            size=SIZE,
            shortcut="tag",
            rho=rho,
            seed=2 * settings.seed + seed,
            smallest=SMALLEST,
        )
        title = f"pictures, {name}"
        tick = _titled(listener, title)
        manifests.append(write_set(made, folder / name, usable_cores(), tick))
    return manifests[0], manifests[1]


def _models(folder: Path, plain: Path, shortcut: Path, settings: DemoSettings, listener: Listener) -> Artifact:
    listener.say("training a small dual encoder on pictures and prompts; the tag says nothing here")
    config = folder / "encoder.json"
    config.write_text(json.dumps({"model_cfg": ENCODER, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
    contrastive = FlcpSettings(split="train", epochs=settings.epochs, lr=2e-3, batch=64, seed=settings.seed)
    watch = Watch(epoch=lambda number, loss, accuracy: listener.step("encoder", number, settings.epochs))
    finetune_flcp(f"open_clip:{config}", plain, folder / "encoder", contrastive, watch)
    listener.say("training a linear probe on its tower; here the tag gives the class away")
    finetune_lp(str(folder / "encoder"), shortcut, folder / "lp", LpSettings(split="train", seed=settings.seed))
    listener.say("exporting tower and heads, perturbation included, and comparing with PyTorch")
    options = ExportOptions(heads=(f"lp=linear:{folder / 'lp'}",))
    return export_artifact(str(folder / "encoder"), folder / "artifact", options)


def _evaluated(
    artifact: Artifact, data: Path, split: str, out: Path, settings: DemoSettings, listener: Listener
) -> Summary:
    execution = Execution()
    job = job_from_artifact(artifact, data, split, Measurement(masks=settings.masks), execution)
    tick = _titled(listener, f"eval, {split}")
    return evaluate(job, spec_for(artifact, execution), out, lambda now: tick(now.done, len(job.samples)))


def _titled(listener: Listener, title: str) -> Callable[[int, int], None]:
    return lambda done, total: listener.step(title, done, total)


def _commands(folder: Path) -> tuple[str, ...]:
    image = folder / "shortcut" / "images" / "test" / "000000.png"
    return (
        f"rate explain {folder / 'artifact'} {image} --head lp --out heat.png",
        f"rate show {folder / 'run'}",
        "rate finetune lp timm:NAME:WEIGHTS MANIFEST --out CHECKPOINT    # your own model and data",
    )


def in_words(demo: Demo) -> list[str]:
    """What the numbers say, one sentence each, from the numbers alone."""
    zs, lp = (demo.agreeing.heads[name] for name in demo.agreeing.heads)
    zs_broken, lp_broken = (demo.broken.heads[name] for name in demo.agreeing.heads)
    names = list(demo.agreeing.heads)
    return [
        f"{names[0]} is right in {_percent(zs.accuracy.value)} of the pictures, {names[1]} in "
        f"{_percent(lp.accuracy.value)}: by accuracy {_better(zs, lp, names)}.",
        f"Of its correct predictions, {names[0]} rests {_percent(zs.pt.ratio.value)} on the object (PT), {names[1]} "
        f"{_percent(lp.pt.ratio.value)}; a model that looks everywhere alike would reach {_percent(lp.pt.chance)}.",
        f"Where the tag says nothing, {names[0]} is right in {_percent(zs_broken.accuracy.value)} and {names[1]} in "
        f"{_percent(lp_broken.accuracy.value)}: what PT saw beforehand, without that second test set.",
    ]


def _better(zs: HeadSummary, lp: HeadSummary, names: list[str]) -> str:
    first, second = zs.accuracy.value or 0.0, lp.accuracy.value or 0.0
    if first == second:
        return "the two are equal"
    return f"{names[1] if second > first else names[0]} is the better model"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.0f} %"
