"""`rate explain`: the prediction for one image, and its evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.options import Shown, with_settings
from rate.config import Execution, Measurement
from rate.errors import ConfigError
from rate.methods import DEFAULT, METHODS

if TYPE_CHECKING:
    from rate.studies.one_image import ExplanationDocument
    from rate.types import Box

_FORMS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_WITH_MASKS = " | ".join(one.name for one in METHODS.values() if one.kernel)


@with_settings
def explain(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of `rate export`.")],
    image: Annotated[Path, typer.Argument(help="Image file.")],
    *,
    out: Annotated[Path, typer.Option(help="Picture to write (.png).")] = Path("heat.png"),
    label: Annotated[
        str | None, typer.Option("--class", help="Class to explain; the predicted one if not given.")
    ] = None,
    boxes: Annotated[str, typer.Option(help="Object boxes in image pixels: [[x0,y0,x1,y1], ...]")] = "[]",
    mask: Annotated[Path | None, typer.Option(help="Object mask instead of boxes: non-zero = object.")] = None,
    head: Annotated[str | None, typer.Option(help="Head to explain, where there are several.")] = None,
    saliency: Annotated[str, typer.Option(help=_WITH_MASKS)] = DEFAULT,
    masks: Annotated[int, typer.Option(help="Masks (rise, rise-tokens).")] = 1000,
    measurement: Annotated[Measurement, Shown(only=("seed",))],
    execution: Annotated[Execution, Shown(only=("threads", "device"))],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Explain the prediction for one image."""
    from rate.artifacts.artifact import load_artifact
    from rate.cli.console import Steps, notice, print_json, say
    from rate.engine.choose_backend import open_backend
    from rate.outputs import is_stream, require_output, write_output
    from rate.report.heatmap import picture
    from rate.studies import one_image as engine

    require_output("--out", out)
    form = _FORMS.get(out.suffix.lower()) or ("PNG" if is_stream(out) else None)
    if form is None:
        raise ConfigError(f"--out must end in {', '.join(_FORMS)}, got {str(out)!r}")
    if mask is not None and boxes != "[]":
        raise ConfigError("--mask and --boxes both give the region; give one of them")
    execution.check_one_device("rate explain")
    question = engine.Question(image, _boxes(boxes), mask, label, head)
    loaded = load_artifact(artifact)
    forwards = 1 + measurement.method.masks_of(measurement, loaded.geometry.size, loaded.patches).count
    with (
        open_backend(loaded, execution, measurement.form, notice) as backend,
        Steps("explain", forwards, "forwards") as steps,
    ):
        explanation = engine.explain(loaded, backend, question, measurement, execution, steps.show)
    verdict = explanation.verdict
    drawn = picture(explanation.pixels, verdict.saliency.evidence, verdict.region, loaded.geometry)
    write_output(out, lambda file: drawn.save(file, form))
    document = explanation.document(out)
    if as_json:
        print_json(document)
        return
    say(f"prediction    {document.prediction} (probability {document.probability:.3f})")
    effect = "undefined" if document.effect is None else f"{document.effect:+.3f}"
    say(f"explained     {document.explained}, effect of the image on its score {effect}")
    if question.boxes or question.mask:
        say(f"evidence      {_rationale(document)}")
    say(f"picture       {out}")


def _rationale(document: ExplanationDocument) -> str:
    if document.undefined_reason is not None:
        return f"no verdict: {document.undefined_reason}"
    return (
        f"{'valid' if document.valid else 'not valid'}: relevance mass {document.rma['positive']:.3f} inside the "
        f"region ({document.floor:.3f} if all evidence were outside, {document.ceiling:.3f} if all were "
        f"inside), localization {document.localization:.3f}"
    )


def _boxes(text: str) -> tuple[Box, ...]:
    expected = f"--boxes must be a JSON list of [x0,y0,x1,y1], got {text!r}"
    try:
        content = json.loads(text)
        boxes = tuple(tuple(float(value) for value in box) for box in (content if _is_nested(content) else [content]))
    except (ValueError, TypeError) as error:
        raise ConfigError(expected) from error
    if any(len(box) != 4 for box in boxes):
        raise ConfigError(expected)
    return tuple((box[0], box[1], box[2], box[3]) for box in boxes)


def _is_nested(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(box, list) for box in value)
