"""`rate bench`: the throughput of an artifact on this machine, and the cost of the engine on top of the backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.bench.settings import BenchSettings
from rate.cli.console import Steps, notice, print_json, results
from rate.cli.options import Config, Shown, with_settings

if TYPE_CHECKING:
    from rate.bench.document import BenchDocument


@with_settings
def bench(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of `rate export`.")],
    *,
    config: Config = None,
    settings: Annotated[BenchSettings, Shown("How it is carried out")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Measure the throughput of an artifact: the backend alone, the whole engine, and their ratio.

    Only ratios within one run are reliable: forwards/s and images/s are those of this machine at this moment.
    A machine is its processor and the number of usable cores.

    Exit codes: 0 done, with any result; 2 nothing was measured; 4 a backend failed, or a file could not be
    written; 130 interrupted. A regression does not fail the command: it is printed, and `against.regression` in the
    JSON; a threshold is for `rate gate`.
    """
    from msgspec import structs

    from rate.bench.history import append, compare, open_history
    from rate.report.tables.bench import bench_table

    history = open_history(settings.csv, settings.against)
    document = _measured(artifact, settings)
    if settings.against is not None:
        against = compare(document.rows, history, str(settings.against))
        document = structs.replace(document, against=against)
    try:
        if settings.csv is not None:
            append(settings.csv, document.rows)
    finally:  # figures that could not be stored are printed nevertheless
        if as_json:
            print_json(document)
        else:
            results().print(bench_table(document))


def _measured(path: Path, settings: BenchSettings) -> BenchDocument:
    from rate.artifacts.artifact import load_artifact
    from rate.bench.measure import document_of, measure, warmed_up
    from rate.bench.nvml import GpuSampler
    from rate.bench.plan import manifest_images, open_candidates, parity_images

    artifact = load_artifact(path)
    data, split = settings.data, settings.split
    images = parity_images(artifact) if data is None else manifest_images(artifact, data, split, notice)
    with open_candidates(artifact, settings, notice) as (backends, refused):
        batches = ", ".join(str(rows or "auto") for rows in settings.batch)
        notice(
            f"to measure: {', '.join(f'{backend.name} {backend.precision}' for backend in backends)}; "
            f"batch {batches}; masks {', '.join(map(str, settings.masks))}; "
            f"{settings.rounds} rounds; images: {images.name}"
        )
        with (
            warmed_up(settings, images, backends, notice) as meters,
            Steps("bench", settings.rounds * len(meters), "measurements") as steps,
            (sampler := GpuSampler()).sampling(),
        ):
            rows = measure(meters, settings.rounds, steps.show)
    return document_of(artifact, images, rows, refused, sampler.states)
