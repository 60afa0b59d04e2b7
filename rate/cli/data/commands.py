"""`rate data`: make a manifest for a set, check one, pack it into shards."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.errors import DataError
from rate.files import read_text

if TYPE_CHECKING:
    from rate.data.make.check import CheckReport
    from rate.data.make.coco import CocoReport
    from rate.data.make.index import IndexReport
    from rate.data.make.layouts.write import LayoutReport

_DATA = "Manifest (.csv, .jsonl, .parquet) or shards: 'set/{000..099}.tar', '*.tar', '*.parquet' with images, or a URL."

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
    from rate.cli.console import notice, say
    from rate.data.make import index

    report = index.index_folder(images, out, masks=masks, mask_pattern=mask_pattern, splits=splits)
    for line in report.notices():
        notice(line)
    say(index_text(report))


@index_app.command("coco")
def index_coco(
    annotations: Annotated[Path, typer.Argument(help="COCO's JSON: images, categories, annotations.")],
    images: Annotated[Path, typer.Option(help="Folder that `file_name` starts from.")],
    out: Annotated[
        Path, typer.Option(help="Manifest to write: .csv, .jsonl or .parquet, in a folder above the images.")
    ],
    regions: Annotated[
        str, typer.Option(help="boxes | masks: bbox, or polygons and run lengths drawn as PNG beside the manifest.")
    ] = "boxes",
    max_json_bytes: Annotated[
        int, typer.Option(help="Largest JSON that is read; memory is up to ten times as much.", min=1)
    ] = 512 << 20,
) -> None:
    """Write a manifest for a set in COCO's format: a row for each image and class in it."""
    from rate.cli.console import notice, say
    from rate.data.make import coco

    report = coco.index_coco(annotations, images, out, regions=regions, max_bytes=max_json_bytes)
    for line in report.notices():
        notice(line)
    say(index_text(report))


@app.command("pack")
def pack(
    data: Annotated[str, typer.Argument(help=_DATA)],
    out: Annotated[Path, typer.Option(help="New folder for the shards 000000.tar, 000001.tar, ...")],
    split: Annotated[str | None, typer.Option(help="Pack the rows of this split only.")] = None,
    shard_bytes: Annotated[int, typer.Option(help="Largest shard, bytes.", min=1)] = 256 << 20,
    shard_samples: Annotated[int | None, typer.Option(help="Most samples of a shard.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write tar shards with the same samples."""
    from rate.cli.console import Steps, print_json, say
    from rate.data.formats import pack as packing

    with ExitStack() as stack:
        steps: list[Steps] = []

        def tick(done: int, total: int) -> None:
            if not steps:  # the total is known once all rows were read
                steps.append(stack.enter_context(Steps("pack", total)))
            steps[0].show(done)

        report = packing.pack(data, out, split=split, shard_bytes=shard_bytes, shard_samples=shard_samples, tick=tick)
    if as_json:
        print_json(report)
    else:
        shards = counted(report.shards, "shard")
        say(f"{report.pattern}: {counted(report.samples, 'sample')} in {shards}, {report.bytes:,} bytes")


@app.command("check")
def check(
    data: Annotated[str, typer.Argument(help=_DATA)],
    split: Annotated[str | None, typer.Option(help="Look at the files of this split only.")] = None,
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
    from rate.cli.console import print_json, say
    from rate.data.make.check import check_manifest
    from rate.outputs import require_output, write_output

    if classes_out is not None:
        require_output("--classes-out", classes_out)

    names = None if classes is None else _class_names(classes)
    report = check_manifest(data, split=split, classes=names, decode=not no_decode, threads=threads)
    if as_json:
        print_json(report)
    else:
        say(_check_text(report))
    if classes_out is not None and report.classes:
        listed = "".join(f"{name}\n" for name in report.classes)
        write_output(classes_out, lambda file: file.write(listed.encode()))
    if report.errors:
        raise DataError(f"{data} has {counted(report.errors, 'error')}; each is named above with its row")


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


def index_text(report: IndexReport | CocoReport | LayoutReport) -> str:
    """Format the number of rows, and of each split and class."""
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
    """Format `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
