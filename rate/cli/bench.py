"""`rate bench`: the throughput of an artifact on this machine, and the cost of the engine on top of the backend."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.bench.settings import BenchSettings
from rate.cli.options import Config, Shown, with_settings
from rate.errors import ConfigError

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.bench.plan import Images
    from rate.bench.result import BenchResult
    from rate.report.tables.bench_csv import Against, Row

_CONDUCT, _OUTPUT = "How it is carried out", "Output"


@with_settings
def bench(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of `rate export`.")],
    *,
    config: Config = None,
    settings: Annotated[BenchSettings, Shown(_CONDUCT)],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Manifest of real images, decoding included; without it, the parity sample.", rich_help_panel=_CONDUCT
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only rows of this split of --data.", rich_help_panel=_CONDUCT)
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Append one row a configuration and quantity.", rich_help_panel=_OUTPUT)
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Compare with the last rows of the same configurations and machine in this --csv.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Measure the throughput of an artifact: the backend alone, the whole engine, and their ratio.

    Only ratios within one run are reliable: forwards/s and images/s are those of this machine at this moment.
    A machine is its processor and the number of usable cores.

    Exit codes: 0 done, with any result; 2 nothing was measured; 4 a backend failed, or a file could not be
    written; 130 interrupted. A regression does not fail the command: it is printed, and `regression` in the JSON;
    a threshold is for `rate gate`.
    """
    from rate.artifacts.artifact import load_artifact
    from rate.bench.plan import manifest_images, parity_images
    from rate.cli.console import notice
    from rate.report.tables.bench_csv import append, compare, rows_of

    if split is not None and data is None:
        raise ConfigError(f"--split {split} needs the manifest that it is a split of; add --data MANIFEST")
    stored = _stored(csv, against)
    loaded = load_artifact(artifact)
    images = parity_images(loaded) if data is None else manifest_images(loaded, data, split, notice)
    result = _measure(loaded, settings, images)
    rows = rows_of(result)
    comparison = None if against is None else compare(rows, stored, str(against))
    try:
        if csv is not None:
            append(csv, rows)
    finally:  # figures that could not be stored are printed nevertheless
        _print(result, comparison, as_json)


def _measure(artifact: Artifact, settings: BenchSettings, images: Images) -> BenchResult:
    from rate.backends.process import usable_cores
    from rate.bench.measure import warmed_up
    from rate.bench.plan import candidates
    from rate.bench.result import BenchResult, MeasuredArtifact, MeasuredData
    from rate.cli.console import Steps, notice

    with ExitStack() as stack:
        backends, refused = candidates(artifact, settings, stack, notice)
        notice(
            f"to measure: {', '.join(f'{backend.name} {backend.precision}' for backend in backends)}; "
            f"batch {', '.join(map(str, settings.batch))}; masks {', '.join(map(str, settings.masks))}; "
            f"{settings.rounds} rounds; "
            f"images: {images.name}"
        )
        ready = stack.enter_context(warmed_up(artifact, settings, images, backends, notice))
        with Steps("bench", ready.total, "measurements") as steps:
            figures = ready.measure(steps.show)
    return BenchResult(
        artifact=MeasuredArtifact(artifact.source, artifact.digest),
        data=MeasuredData(images.key, images.name),
        threads=settings.threads or usable_cores(),
        rounds=settings.rounds,
        configurations=figures,
        refused=tuple(refused),
    )


def _print(result: BenchResult, comparison: Against | None, as_json: bool) -> None:
    from msgspec import structs

    from rate.cli.console import print_json, results
    from rate.report.tables.bench import bench_table
    from rate.report.tables.bench_csv import BenchDocument

    if as_json:
        regression = None if comparison is None else comparison.regression
        print_json(BenchDocument(**structs.asdict(result), regression=regression, against=comparison))
    else:
        results().print(bench_table(result, comparison))


def _stored(csv: Path | None, against: Path | None) -> list[Row]:
    """Return the stored rows to compare with; unusable files are refused before any measurement."""
    from rate.outputs import is_stream, require_output
    from rate.report.tables.bench_csv import append, read_stored

    if csv is not None:
        require_output("--csv", csv, appended=True)
        if not is_stream(csv):
            append(csv, [])
            read_stored(csv, "--csv")
    return [] if against is None else read_stored(against, "--against")
