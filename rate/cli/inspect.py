"""What there is: `rate inspect` of an artifact, `rate doctor` of this machine, `rate schema` of the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import print_json, say
from rate.errors import UsageError

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.artifacts.records import Parity
    from rate.data.images.geometry import Geometry

_SHOWN_CLASSES = 4


def inspect(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of `rate export`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print artifact.json with the artifact's digest.")] = False,
) -> None:
    """Check every file of an artifact against its sha256, and print its contents."""
    from rate.artifacts.artifact import load_artifact
    from rate.records import plain

    loaded = load_artifact(artifact)
    if as_json:
        print_json(plain(loaded.document) | {"digest": loaded.digest})
    else:
        say(describe(loaded))


def describe(artifact: Artifact) -> str:
    """Format a few aligned lines about an artifact."""
    from rate.artifacts.artifact import PROVEN
    from rate.artifacts.plans import describe_plans

    lines = [
        ("artifact", str(artifact.path)),
        ("digest", artifact.digest),
        ("source", f"{artifact.source} ({artifact.family}, weights {artifact.weights[:12]})"),
        ("input", _input(artifact.geometry)),
        *(("head", f"{head.name} ({head.kind}): {_classes(head.classes)}") for head in artifact.heads),
        *(
            [("runs in", "PyTorch alone, on the torch path: it is exported to neither ONNX nor TensorRT")]
            if artifact.asks
            else [("graph", f"opset {artifact.opset}, f32")]
        ),
        ("parity", _parity(artifact.parity[PROVEN if artifact.asks else "pixels"])),
        *(
            ("tokens", f"{artifact.patches} x {artifact.patches} patches, {_parity(parity)}")
            for form, parity in artifact.parity.items()
            if form == "tokens"
        ),
        *(
            (form.removeprefix("pixels-"), _lower(parity))
            for form, parity in artifact.parity.items()
            if parity.precision != "f32"
        ),
        *(("attentions", text) for text in _attention(artifact)),
        *(("int8", text) for text in _int8(artifact)),
        *(("plan", text) for text in describe_plans(artifact)),
        *(("file", f"{name} {(artifact.path / name).stat().st_size:,} bytes") for name in artifact.files),
        ("made with", ", ".join(f"{name} {version}" for name, version in artifact.versions.items())),
    ]
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def _int8(artifact: Artifact) -> list[str]:
    """Format the calibration, the changes and the speed of the int8 graph; the list is empty without one."""
    if artifact.int8 is None:
        return []
    int8 = artifact.int8
    return [
        f"calibrated on {int8.calibration.images} images, {int8.calibrated_on} of the {int8.changes.images} compared "
        "among them",
        *(f"against f32 by swaps, {flips}" for flips in int8.changes.heads),
        *([f"{int8.pace} where it was exported"] if int8.speed else []),
    ]


def _attention(artifact: Artifact) -> list[str]:
    """Say of each half graph which form its attentions have; nothing where onnx is not installed to read them."""
    from rate.export.precision.attention import forms_of
    from rate.machine import installed

    halves = [form for form, parity in artifact.parity.items() if parity.precision in ("fp16", "bf16")]
    if not (halves and installed("onnx")):
        return []
    return [f"{form.removeprefix('pixels-')}: {forms_of(artifact.path / artifact.graphs[form])}" for form in halves]


def _classes(names: tuple[str, ...]) -> str:
    if not names:
        return "the options of each row's question"
    more = ", ..." if len(names) > _SHOWN_CLASSES else ""
    return f"{len(names)} classes ({', '.join(names[:_SHOWN_CLASSES])}{more})"


def _input(geometry: Geometry) -> str:
    before = f"squash to {geometry.size}" if geometry.crop == "squash" else f"resize {geometry.resize}, centre crop"
    mean, std = (",".join(f"{value:g}" for value in values) for values in (geometry.mean, geometry.std))
    return f"{geometry.size}x{geometry.size}, {geometry.interpolation}, {before}, mean {mean}, std {std}"


def _parity(parity: Parity) -> str:
    worst = ", ".join(f"{head} {value:.1e} of {parity.allowed[head]:.1e}" for head, value in parity.max_abs.items())
    return f"max abs of the logits: {worst} allowed ({parity.runtime})"


def _lower(parity: Parity) -> str:
    from rate.artifacts.parity import ERROR

    worst = ", ".join(f"{head} {value:.3f}" for head, value in parity.error.items())
    return f"error of the scores over their spread: {worst} (allowed {ERROR:g}, {parity.runtime})"


def doctor(
    artifact: Annotated[
        Path | None, typer.Argument(help="Artifact to try the runtimes on, as `--backend auto` does.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Report what this machine has and what `rate` would use of it."""
    from rate.cli.layouts import LAYOUTS
    from rate.doctor import diagnose
    from rate.export.sources.source_string import FAMILIES
    from rate.methods import METHODS

    plugins = [*FAMILIES.plugins(), *LAYOUTS.plugins(), *METHODS.plugins()]
    diagnosis = diagnose(Path.cwd(), artifact, plugins)
    if as_json:
        print_json(diagnosis)
        return
    width = max(len(finding.topic) for finding in diagnosis.findings)
    for finding in diagnosis.findings:
        say(f"{finding.topic:<{width}}  {finding.observed}{'  -> ' + finding.remark if finding.remark else ''}")


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            help="artifact | checkpoint | plan | run | samples | summary | precision | faithfulness | grid | "
            "comparison | agreement | gate | gates | bench | explanation | doctor | status | estimate | check | pack | "
            "report | finetuned; all if none."
        ),
    ] = None,
) -> None:
    """Print the JSON Schemas of the files that `rate` writes."""
    from rate.report.schemas import all_schemas

    known = all_schemas()
    if name is not None and name not in known:
        raise UsageError(f"there is no schema {name!r}; there are {', '.join(known)}")
    print_json(known if name is None else known[name])
