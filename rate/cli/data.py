"""`rate data`: make a manifest for a folder of images, and check one before it is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.errors import DataError

if TYPE_CHECKING:
    from rate.data.check import CheckReport
    from rate.data.index import IndexReport
    from rate.data.layouts.write import LayoutReport

app = typer.Typer(help="Manifests: what is evaluated, with which labels and regions.", no_args_is_help=True)
index_app = typer.Typer(help="Write a manifest for a data set as it lies on the disk.", no_args_is_help=True)
app.add_typer(index_app, name="index")


@index_app.command("folder")
def index_folder(
    images: Annotated[Path, typer.Argument(help="Folder with one folder of images a class.")],
    out: Annotated[
        Path, typer.Option(help="Manifest to write: .csv, .jsonl or .parquet, in a folder above the images.")
    ],
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks in the same structure; not zero = object.")
    ] = None,
    splits: Annotated[bool, typer.Option("--splits", help="The first level of folders names splits.")] = False,
    mask_pattern: Annotated[
        str, typer.Option(help="Name of an image's mask: {stem} = its name without suffix, {name} = with it.")
    ] = "{stem}.png",
) -> None:
    """Write a manifest for IMAGES/CLASS/FILE (or IMAGES/SPLIT/CLASS/FILE) and its masks."""
    from rate.cli.console import notice
    from rate.data import index

    report = index.index_folder(images, out, masks=masks, mask_pattern=mask_pattern, splits=splits)
    for line in report.notices():
        notice(line)
    typer.echo(index_text(report))


@app.command("check")
def check(
    manifest: Annotated[Path, typer.Argument(help="Manifest: .csv, .jsonl or .parquet.")],
    split: Annotated[str | None, typer.Option(help="Look at the files of this split only.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Names that labels must be among, one a line.")] = None,
    no_decode: Annotated[
        bool, typer.Option("--no-decode", help="Only see that files are there, do not decode them.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads that decode.", min=1)] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Name every problem of a manifest and of its files; exit code 2 if one of them is an error."""
    from rate.cli.console import print_json
    from rate.data.check import check_manifest

    names = None if classes is None else _class_names(classes)
    report = check_manifest(manifest, split=split, classes=names, decode=not no_decode, threads=threads)
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo(_check_text(report))
    if report.errors:
        raise DataError(f"{manifest} has {counted(report.errors, 'error')}; each is named above with its row")


def _class_names(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the class names {path} cannot be read: {error}; expected a text file, one name a line"
        ) from error
    if not names:
        raise DataError(f"{path} names no class; expected one name a line")
    return names


def index_text(report: IndexReport | LayoutReport) -> str:
    """What was written, and how many of each split and class."""
    return "\n".join([f"{report.out}: {counted(report.rows, 'row')}", *_counts_text(report.classes, report.splits)])


def _check_text(report: CheckReport) -> str:
    lines = [f"{report.path}: {counted(report.rows, 'row')}, {counted(report.samples, 'sample')} looked at"]
    lines += _counts_text(report.classes, report.splits)
    lines += [f"{problem.severity:<8} {problem}" for problem in report.problems]
    return "\n".join([*lines, f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"])


def _counts_text(classes: dict[str, int], splits: dict[str, int]) -> list[str]:
    groups = [("split", splits), ("class", classes)]
    return [f"{kind:<8} {name}: {count}" for kind, counts in groups for name, count in counts.items()]


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
