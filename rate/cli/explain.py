"""`rate explain`: the prediction for one image, and its evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import Steps, notice, print_json, say
from rate.cli.options import Shown, with_settings
from rate.config import FIXED_MASKS, Measurement
from rate.errors import ConfigError
from rate.execution import Execution
from rate.methods import DEFAULT, METHODS
from rate.outputs import require_output
from rate.reading import MASKS, Reading

if TYPE_CHECKING:
    from rate.types import Box

_WITH_MASKS = " | ".join(one.name for one in METHODS.built_in.values() if one.kernel)


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
    fill: Annotated[
        str,
        typer.Option(
            help="FOLDER of other pictures: swaps of the object and the rest with these decide, and the map only "
            "shows. Without it a map decides; mean | own stand where its masks hide a pixel."
        ),
    ] = "auto",
    saliency: Annotated[str, typer.Option(help=_WITH_MASKS)] = DEFAULT,
    masks: Annotated[int, typer.Option(help="Masks of the map (rise, rise-tokens).")] = FIXED_MASKS,
    reading: Annotated[Reading, Shown(only=MASKS)],
    measurement: Annotated[Measurement, Shown(only=("fills", "seed"))],
    execution: Annotated[Execution, Shown(only=("threads", "device"))],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Explain the prediction for one image."""
    from rate.artifacts.artifact import load_artifact
    from rate.engine.choose_backend import open_backend
    from rate.studies import one_image as engine
    from rate.studies.explanation import picture_form

    require_output("--out", out)
    picture_form(out)
    if mask is not None and boxes != "[]":
        raise ConfigError("--mask and --boxes both give the region; give one of them")
    question = engine.OneImage(image, _boxes(boxes), mask, label, head, reading)
    asked = engine.measurement_of_one(measurement)
    loaded = load_artifact(artifact)
    loaded.refuse_questions("explain", engine.ONE_ROW)
    with (
        open_backend(loaded, execution, asked.form, notice) as backend,
        Steps("explain", engine.most_forwards(loaded, asked), "forwards") as steps,
    ):
        explanation = engine.explain(loaded, backend, question, asked, execution, steps.show)
    explanation.write(out)
    if as_json:
        print_json(explanation.document(out))
        return
    say(explanation)
    say(f"picture       {out}")


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
