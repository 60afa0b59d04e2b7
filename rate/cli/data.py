"""`rate data`: pack a set into shards, check one, make a synthetic one, corrupt one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.backends.process import usable_cores
from rate.cli.console import Steps, notice, print_json, say
from rate.cli.options import Shown, with_settings
from rate.errors import DataError
from rate.files import read_text
from rate.outputs import require_output, write_output
from rate.reading import Reading

if TYPE_CHECKING:
    from rate.data.formats.manifest_files import Problem
    from rate.data.make.check import CheckReport

_DATA = "Manifest (.csv, .jsonl, .parquet) or shards: 'set/{000..099}.tar', '*.tar', '*.parquet' with images, or a URL."

app = typer.Typer(help="Manifests: what is evaluated, with which labels and regions.", no_args_is_help=True)


@app.command("pack")
@with_settings
def pack(
    data: Annotated[str, typer.Argument(help=_DATA)],
    *,
    out: Annotated[Path, typer.Option(help="New folder for the shards 000000.tar, 000001.tar, ...")],
    split: Annotated[str | None, typer.Option(help="Pack the rows of this split only.")] = None,
    reading: Annotated[Reading, Shown()],
    shard_bytes: Annotated[int, typer.Option(help="Largest shard, bytes.", min=1)] = 256 << 20,
    shard_samples: Annotated[int | None, typer.Option(help="Most samples of a shard.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write tar shards with the same samples."""
    from rate.data.formats import pack as packing

    with Steps() as steps:  # the total is known once all rows were read
        report = packing.pack(
            data,
            out,
            split=split,
            reading=reading,
            shard_bytes=shard_bytes,
            shard_samples=shard_samples,
            tick=lambda done, total: steps.stage("pack", total, "images", done),
        )
    if as_json:
        print_json(report)
    else:
        shards = counted(report.shards, "shard")
        say(f"{report.pattern}: {counted(report.samples, 'sample')} in {shards}, {report.bytes:,} bytes")


@app.command("check")
@with_settings
def check(
    data: Annotated[str, typer.Argument(help=_DATA)],
    *,
    split: Annotated[str | None, typer.Option(help="Look at the files of this split only.")] = None,
    reading: Annotated[Reading, Shown()],
    classes: Annotated[Path | None, typer.Option(help="Names that labels must be among, one a line.")] = None,
    no_decode: Annotated[
        bool, typer.Option("--no-decode", help="Only see that files are there, do not decode them.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads that decode.", min=1)] = 2,
    classes_out: Annotated[
        Path | None, typer.Option(help="Write the labels, one a line: the --classes of a zero-shot head.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Name every problem of a set and of its files; exit code 2 if one of them is an error."""
    from rate.data.make.check import check_manifest

    if classes_out is not None:
        require_output("--classes-out", classes_out)

    names = None if classes is None else _class_names(classes)
    report = check_manifest(data, split=split, classes=names, decode=not no_decode, reading=reading, threads=threads)
    if as_json:
        print_json(report)
    else:
        say(check_text(report))
    if classes_out is not None and report.classes:
        listed = "".join(f"{name}\n" for name in report.classes)
        write_output(classes_out, lambda file: file.write(listed.encode()))
    if report.errors:
        raise DataError(f"{data} has {counted(report.errors, 'error')}; --json lists each with its row")


@app.command("synth")
def synth(
    out: Annotated[Path, typer.Option(help="New folder for images, masks and manifest.csv.")],
    train: Annotated[int, typer.Option(help="Images of split train.")] = 2000,
    test: Annotated[int, typer.Option(help="Images of split test, and as many of test-broken.")] = 400,
    size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = 96,
    shortcut: Annotated[str, typer.Option(help="none | scene | tag: what gives the class away beside it.")] = "tag",
    rho: Annotated[float, typer.Option(help="Share of train and test in which the shortcut is right.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Of everything that is chance.")] = 0,
    graded: Annotated[
        bool, typer.Option("--graded", help="Also every test picture with other objects and on other scenes.")
    ] = False,
) -> None:
    """Make a synthetic set: objects on scenes with exact masks, and a shortcut outside the object.

    With --graded, graded.csv lists renderings from which a model's true share of object and scene can be computed.
    """
    from rate.data.make.graded import write_graded
    from rate.data.make.synth import Synthetic, write_set

    settings = Synthetic(train=train, test=test, size=size, shortcut=shortcut, rho=rho, seed=seed)
    with Steps("synth", train + 2 * test) as steps:
        manifest = write_set(settings, out, usable_cores(), lambda done, total: steps.show(done))
    if graded:
        with Steps("renderings", test) as steps:
            write_graded(settings, out, usable_cores(), lambda done, total: steps.show(done))
    say(f"{manifest}: {train} train, {test} test, {test} test-broken; shortcut {shortcut}, rho {rho:g}")


@app.command("corrupt")
@with_settings
def corrupt(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the clean set.")],
    *,
    corruption: Annotated[
        list[str], typer.Option("--corrupt", help="fog:3, fog (five severities), all:3, all; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for images, masks and one manifest a corruption.")],
    split: Annotated[str | None, typer.Option(help="Rows of this split only.")] = None,
    reading: Annotated[Reading, Shown()],
    seed: Annotated[int, typer.Option(help="Of everything that is chance.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as there are cores.", min=1)] = None,
) -> None:
    """Crop images as ImageNet-C does (short side 256, centre 224), corrupt them, and transform their regions.

    The same command resumes after an interruption.
    """
    from rate.data.images.corrupt import parse_corruption
    from rate.data.make.corrupt_set import corrupt_set
    from rate.data.make.index import named
    from rate.data.manifest import read_manifest

    wanted = tuple(dict.fromkeys(one for text in corruption for one in parse_corruption(text, seed)))
    total = len(read_manifest(manifest, split=split, reading=reading).samples)
    with Steps("corrupt", total) as steps:
        report = corrupt_set(
            manifest,
            wanted,
            out,
            split=split,
            reading=reading,
            workers=usable_cores() if workers is None else workers,
            tick=lambda done, total: steps.show(done),
        )
    if report.failed:
        notice(f"{len(report.failed)} images could not be corrupted and were left out: {named(report.failed)}")
    for path in report.manifests:
        say(f"{path}: {counted(report.samples, 'row')}")
    say(f"{counted(report.made, 'image')} made, {report.kept} kept")


def _class_names(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"the class names {path} cannot be read: {error}; expected a text file, one name a line"
        ) from error
    if not names:
        raise DataError(f"{path} names no class; expected one name a line")
    return names


def check_text(report: CheckReport) -> str:
    """Format the contents and problems of a set, a line each."""
    lines = [f"{report.path}: {counted(report.rows, 'row')}, {counted(report.samples, 'sample')} looked at"]
    lines += counts_text(report.classes, report.splits)
    lines += _problem_lines(report.problems)
    return "\n".join([*lines, f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"])


def _problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Name the first problems of every kind, and count the others; a kind differs in more than names and numbers."""
    from rate.runs.failures import SHOWN, reason_of

    kinds: dict[tuple[str, str | None, str], list[Problem]] = {}
    for one in problems:
        kinds.setdefault((one.severity, one.column, reason_of(one.id or "", one.message)), []).append(one)
    lines = []
    for (severity, *_), own in kinds.items():
        lines += [f"{severity:<8} {one}" for one in own[:SHOWN]]
        if len(own) > SHOWN:
            lines.append(f"{severity:<8} and {len(own) - SHOWN} more like these; --json lists all")
    return lines


def counts_text(classes: dict[str, int], splits: dict[str, int]) -> list[str]:
    """Format the number of samples of each split and class, a line each."""
    groups = [("split", splits), ("class", classes)]
    return [f"{kind:<8} {name}: {count}" for kind, counts in groups for name, count in counts.items()]


def counted(number: int, noun: str) -> str:
    """Format `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
