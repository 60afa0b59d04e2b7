"""The demonstration trains two heads offline, of which one is right for the wrong reasons.

A small CLIP-style dual encoder is trained on synthetic pictures whose scene often predicts the class. A linear probe
on its tower is then trained on pictures whose scene is independent of the class. Both heads share one export and one
run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rate.artifacts.artifact import Artifact
from rate.backends.process import usable_cores
from rate.config import Measurement
from rate.data.make.synth import CLASSES, Synthetic, write_set
from rate.data.manifest import read_manifest
from rate.engine.choose_backend import open_backend
from rate.engine.evaluate import evaluate
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.finetune.contrastive import FlcpSettings, finetune_flcp
from rate.finetune.lp import LpSettings, finetune_lp
from rate.finetune.recipe import Watch
from rate.outputs import require_new_folder
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.runs.summary.summarise import HeadSummary, Summary
from rate.studies.one_image import OneImage, explain

SIZE = 64
RHO = 0.7
"""The share of the encoder's training pictures in which the scene predicts the class."""

SMALLEST = 0.12
"""The area of the smallest object; at 64 pixels, smaller objects cannot be recognised."""

ENCODER = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
"""A ResNet with one block in each stage and a one-block text transformer, in open_clip's format."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The callbacks of the demonstration."""

    say: Callable[[str], None] = lambda text: None  # receives the title of a step
    step: Callable[[str, int, int], None] = lambda title, done, total: None  # receives the progress within a step


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The size of the demonstration; the defaults take minutes on two cores."""

    train: int = 2000  # images for the encoder, and as many for the probe
    test: int = 160
    epochs: int = 30
    fills: int | str = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Demo:
    """The results of the demonstration."""

    folder: Path
    artifact: Artifact
    agreeing: Summary  # the scene predicts the class as often as in the encoder's training
    broken: Summary  # the scene is independent of the class
    pictures: dict[str, Path]  # head -> its evidence for the same image; empty if no image separates the heads
    commands: tuple[str, ...]  # commands to run next


def run_demo(folder: Path, settings: DemoSettings, listener: Listener) -> Demo:
    """Make the data, train, export and evaluate; everything is written to ``folder``.

    Raises:
        UsageError: ``folder`` exists and is not empty, or cannot be written.
    """
    require_new_folder("--out", folder)
    plain, shortcut = _pictures(folder, settings, listener)
    artifact = _models(folder, plain, shortcut, settings, listener)
    listener.say("evaluating both heads in one run, on pictures like those of the encoder's training")
    agreeing = _evaluated(artifact, shortcut, "test", folder / "run", settings, listener)
    listener.say("and where the scene says nothing")
    broken = _evaluated(artifact, shortcut, "test-broken", folder / "run-broken", settings, listener)
    listener.say("drawing the evidence of both heads for one picture")
    pictures = _evidence(folder, artifact, shortcut)
    return Demo(folder, artifact, agreeing, broken, pictures, _commands(folder))


def _pictures(folder: Path, settings: DemoSettings, listener: Listener) -> tuple[Path, Path]:
    listener.say(f"drawing pictures: shapes on scenes; in one set the scene gives the shape away in {100 * RHO:.0f} %")
    manifests = []
    for name, rho, seed in (("plain", 1 / len(CLASSES), 0), ("shortcut", RHO, 1)):
        made = Synthetic(
            train=settings.train,
            test=settings.test,
            size=SIZE,
            shortcut="scene",
            rho=rho,
            seed=2 * settings.seed + seed,
            smallest=SMALLEST,
        )
        title = f"pictures, {name}"
        tick = _titled(listener, title)
        manifests.append(write_set(made, folder / name, usable_cores(), tick))
    return manifests[0], manifests[1]


def _models(folder: Path, plain: Path, shortcut: Path, settings: DemoSettings, listener: Listener) -> Artifact:
    listener.say("training a small dual encoder on pictures and prompts, where the scene gives the class away")
    config = folder / "encoder.json"
    config.write_text(json.dumps({"model_cfg": ENCODER, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
    contrastive = FlcpSettings(
        split="train", epochs=settings.epochs, lr=2e-3, batch=32, augment=False, seed=settings.seed
    )
    watch = Watch(epoch=lambda number, loss, accuracy: listener.step("encoder", number, settings.epochs))
    finetune_flcp(f"open_clip:{config}", shortcut, folder / "encoder", contrastive, watch)
    listener.say("training a linear probe on its tower, where the scene says nothing")
    finetune_lp(str(folder / "encoder"), plain, folder / "lp", LpSettings(split="train", seed=settings.seed))
    listener.say("exporting tower and heads, perturbation included, and comparing with PyTorch")
    options = ExportOptions(heads=(f"lp=linear:{folder / 'lp'}",))
    return export_artifact(str(folder / "encoder"), folder / "artifact", options)


def _evaluated(
    artifact: Artifact, data: Path, split: str, out: Path, settings: DemoSettings, listener: Listener
) -> Summary:
    job = job_from_artifact(artifact, data, split, Measurement(fills=settings.fills), Execution())
    tick = _titled(listener, f"eval, {split}")
    with open_runner(artifact, job) as runner:
        return evaluate(job, runner, out, lambda now: tick(now.done, len(job.samples)))


def _evidence(folder: Path, artifact: Artifact, data: Path) -> dict[str, Path]:
    """Draw the image that separates the heads most: both are right, one on the object and one beside it."""
    run = folder / "run"
    columns = ["id", "head", "correct", "valid", "share"]
    rows = read_rows(run, read_run(run), columns).to_pylist()
    first, second = (
        {row["id"]: row for row in rows if row["head"] == head.name and row["correct"] and row["valid"] is not None}
        for head in artifact.heads
    )
    telling = [name for name in first.keys() & second.keys() if first[name]["valid"] != second[name]["valid"]]
    if not telling:
        return {}
    best = max(sorted(telling), key=lambda name: abs(first[name]["share"] - second[name]["share"]))
    sample = next(sample for sample in read_manifest(data).samples if sample.id == best)
    drawn, execution = {}, Execution()
    with open_backend(artifact, execution) as backend:
        for head in artifact.heads:
            question = OneImage(Path(sample.image), (), Path(str(sample.mask)), sample.label, head.name)
            explained = explain(artifact, backend, question, Measurement(verdict="map"), execution)
            drawn[head.name] = folder / f"evidence-{head.name}.png"
            explained.write(drawn[head.name])
    return drawn


def _titled(listener: Listener, title: str) -> Callable[[int, int], None]:
    return lambda done, total: listener.step(title, done, total)


def _commands(folder: Path) -> tuple[str, ...]:
    data = folder / "shortcut"
    region = f"--mask {data / 'masks' / 'test' / '000000.png'}"
    return (
        f"rate explain {folder / 'artifact'} {data / 'images' / 'test' / '000000.png'} {region} --head lp",
        f"rate compare {folder / 'run'}",
        f"rate report {folder / 'run'} --out {folder / 'report.html'}",
        "rate finetune lp timm:NAME:WEIGHTS MANIFEST --out CHECKPOINT    # your own model and data",
    )


def conclusions(demo: Demo) -> list[str]:
    """State the results of the numbers, one sentence each."""
    first, second = demo.agreeing.heads
    seen, broken = demo.agreeing.heads, demo.broken.heads
    return [
        f"By accuracy {_ranking(first, second, seen, _accuracy)}.",
        f"By PT {_ranking(first, second, seen, _pt)}: that share of the correct predictions rests on the object. "
        f"Evidence spread evenly over every picture would give {_percent(seen[first].pt.uniform)}.",
        f"Where the scene says nothing, {_ranking(first, second, broken, _accuracy)}. "
        f"{_ranking_conclusion(first, second, demo)}",
    ]


def _ranking_conclusion(first: str, second: str, demo: Demo) -> str:
    """State whether PT on the familiar pictures ranked the heads as accuracy on the broken ones does."""

    def leads(heads: dict[str, HeadSummary], metric: Callable[[HeadSummary], float]) -> bool:
        return metric(heads[first]) > metric(heads[second])

    by_pt, later = leads(demo.agreeing.heads, _pt), leads(demo.broken.heads, _accuracy)
    if by_pt != later:
        return "PT did not rank the two heads so this time."
    known = "as accuracy did too" if leads(demo.agreeing.heads, _accuracy) == later else "which accuracy did not"
    return f"PT ranked the two heads so beforehand, without those pictures, {known}."


def _ranking(first: str, second: str, heads: dict[str, HeadSummary], metric: Callable[[HeadSummary], float]) -> str:
    values = {name: metric(heads[name]) for name in (first, second)}
    best = max(values, key=lambda name: values[name])
    other = second if best == first else first
    if values[best] == values[other]:
        return f"{first} and {second} are equal at {_percent(values[best])}"
    return f"{best} ({_percent(values[best])}) is ahead of {other} ({_percent(values[other])})"


def _accuracy(head: HeadSummary) -> float:
    return head.accuracy.value or 0.0


def _pt(head: HeadSummary) -> float:
    return head.pt.ratio.value or 0.0


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.0f} %"
