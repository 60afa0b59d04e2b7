"""`rate bench`: the throughput of an artifact on this machine, and the cost of the engine on top of the backend."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.settings import apply_config
from rate.errors import ConfigError

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.bench.plan import BenchSettings, Images
    from rate.bench.result import BenchResult
    from rate.report.tables.bench_csv import Row

_LADDERS, _CONDUCT, _OUTPUT = "Ladders, values separated by commas", "How it is carried out", "Output"


def _opt(help: str, panel: str, *names: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*names, help=help, rich_help_panel=panel)
    return option


def bench(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of `rate export`.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file with option values.", callback=apply_config, is_eager=True)
    ] = None,
    batch: Annotated[str, _opt("Rows a forward: 8,32,64", _LADDERS)] = "32",
    masks: Annotated[str, _opt("Masks an image: 256,1000,auto", _LADDERS)] = "256",
    backend: Annotated[
        str, _opt("auto | tensorrt | openvino | onnxruntime | torch | onnxruntime-cuda | torch-cuda", _LADDERS)
    ] = "auto",
    precision: Annotated[
        str, _opt("auto | f32 | fp16 | bf16 | int8; auto measures all that `rate eval` would try", _LADDERS)
    ] = "auto",
    device: Annotated[str, _opt("auto: the CPU, and a GPU if there is one | cpu | cuda | cuda:N", _CONDUCT)] = "auto",
    data: Annotated[
        Path | None, _opt("Manifest of real images, decoding included; without it, the parity sample.", _CONDUCT)
    ] = None,
    split: Annotated[str | None, _opt("Only rows of this split of --data.", _CONDUCT)] = None,
    rounds: Annotated[int, _opt("Measurements of everything, interleaved.", _CONDUCT)] = 3,
    warm_up: Annotated[int, _opt("Whole rounds thrown away first.", _CONDUCT)] = 0,
    seconds: Annotated[float, _opt("Aimed at by one measurement; the engine does one image at least.", _CONDUCT)] = 3.0,
    threads: Annotated[int, _opt("Threads of the runtime; 0 = all this process may use.", _CONDUCT)] = 0,
    csv: Annotated[Path | None, _opt("Append one row a configuration and quantity.", _OUTPUT)] = None,
    against: Annotated[
        Path | None, _opt("Compare with the last rows of the same configurations and machine in this --csv.", _OUTPUT)
    ] = None,
    as_json: Annotated[bool, _opt("Print the figures as JSON.", _OUTPUT, "--json")] = False,
) -> None:
    """Measure the throughput of an artifact: the backend alone, the whole engine, and their ratio.

    Only ratios within one run are reliable: forwards/s and images/s are those of this machine at this moment.
    A machine is its processor and the number of usable cores.

    Exit codes: 0 done, with any result; 2 nothing was measured; 4 a backend failed, or a file could not be
    written; 130 interrupted. A regression does not fail the command: it is printed, and `regression` in the JSON;
    a threshold is for `rate gate`.
    """
    from msgspec import structs

    from rate.artifacts.artifact import load_artifact
    from rate.bench.plan import BenchSettings, manifest_images, parity_images
    from rate.cli.console import notice, print_json, results
    from rate.report.tables.bench import bench_table
    from rate.report.tables.bench_csv import BenchDocument, append, compare, rows_of

    if split is not None and data is None:
        raise ConfigError(f"--split {split} needs the manifest that it is a split of; add --data MANIFEST")
    settings = BenchSettings(
        batches=_numbers("--batch", batch),
        masks=_masks(masks),
        backends=_names(backend),
        precisions=_names(precision),
        rounds=rounds,
        warm_up=warm_up,
        seconds=seconds,
        threads=threads,
        device=device,
    )
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
        if as_json:
            print_json(
                BenchDocument(
                    **structs.asdict(result),
                    regression=None if comparison is None else comparison.regression,
                    against=comparison,
                )
            )
        else:
            results().print(bench_table(result, comparison))


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
            f"batch {_list(settings.batches)}; masks {_list(settings.masks)}; "
            f"{f'{settings.warm_up} rounds to warm up, ' if settings.warm_up else ''}{settings.rounds} rounds; "
            f"images: {images.name}"
        )
        ready = stack.enter_context(warmed_up(artifact, settings, images, backends, notice))
        notice(f"{ready.total} measurements, about {ready.seconds:.0f} s")
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


def _masks(text: str) -> tuple[int | str, ...]:
    return tuple(part for one in _names(text) for part in (["auto"] if one == "auto" else _numbers("--masks", one)))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    values = _names(text)
    if wrong := [value for value in values if not value.isdecimal()]:
        raise ConfigError(f"{option} must be whole numbers separated by commas, as 8,32,64; got {wrong[0]!r}")
    return tuple(map(int, values))


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def _list(values: tuple[int | str, ...]) -> str:
    return ", ".join(map(str, values))
