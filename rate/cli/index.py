"""`rate data index`: a manifest for a set as it lies on the disk, or of a public set in its original layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import notice, say
from rate.cli.data import counted, counts_text
from rate.cli.options import Shown, with_settings
from rate.errors import ConfigError
from rate.reading import Reading

if TYPE_CHECKING:
    from rate.data.make.index import ManifestReport
    from rate.data.make.layouts.base import Entry, LeftOut

app = typer.Typer(help="Write a manifest for a data set as it lies on the disk.", no_args_is_help=True)

Root = Annotated[Path, typer.Argument(help="Folder of the set, as its archives unpack.")]
Out = Annotated[Path, typer.Option(help="Manifest to write: .csv, .jsonl or .parquet, in a folder above the images.")]
Classes = Annotated[Path | None, typer.Option(help="Class names, a line `KEY NAME`: KEY is the class's folder.")]
Boxes = Annotated[bool, typer.Option("--boxes", help="Take the boxes as regions, not the outlines.")]
SynsetClasses = Annotated[
    Path | None, typer.Option(help="Class names, a line `SYNSET NAME`; open_clip's names without it.")
]
DogClasses = Annotated[Path | None, typer.Option(help="Class names, a line `SYNSET NAME`; the folders' without it.")]
Synsets = Annotated[bool, typer.Option("--synsets", help="Name the classes by their synsets.")]


@app.command("folder")
@with_settings
def index_folder(
    images: Annotated[Path, typer.Argument(help="Folder with one folder of images a class.")],
    *,
    out: Out,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks in the same structure; not zero = object.")
    ] = None,
    splits: Annotated[bool, typer.Option("--splits", help="The first level of folders names splits.")] = False,
    mask_pattern: Annotated[
        str, typer.Option(help="Name of an image's mask: {stem} = its name without suffix, {name} = with it.")
    ] = "{stem}.png",
    reading: Annotated[Reading, Shown()],
) -> None:
    """Write a manifest for IMAGES/CLASS/FILE (or IMAGES/SPLIT/CLASS/FILE) and its masks."""
    from rate.data.make import index

    _say(index.index_folder(images, out, masks=masks, mask_pattern=mask_pattern, splits=splits, reading=reading))


@app.command("coco")
def index_coco(
    annotations: Annotated[Path, typer.Argument(help="COCO's JSON: images, categories, annotations.")],
    images: Annotated[Path, typer.Option(help="Folder that `file_name` starts from.")],
    out: Out,
    regions: Annotated[
        str, typer.Option(help="boxes | masks: bbox, or polygons and run lengths drawn as PNG beside the manifest.")
    ] = "boxes",
    max_json_bytes: Annotated[
        int, typer.Option(help="Largest JSON that is read; memory is up to ten times as much.", min=1)
    ] = 512 << 20,
) -> None:
    """Write a manifest for a set in COCO's format: a row for each image and class in it."""
    from rate.data.make import coco

    _say(coco.index_coco(annotations, images, out, regions=regions, max_bytes=max_json_bytes))


@app.command("caltech101")
def caltech101(root: Root, out: Out, boxes: Boxes = False, classes: Classes = None) -> None:
    """Caltech-101, with its contours as masks."""
    from rate.data.make.layouts.caltech101 import read_caltech101

    _write(read_caltech101(root, boxes=boxes, names=_named(classes)), root, out)


@app.command("cub200")
def cub200(root: Root, out: Out, boxes: Boxes = False, classes: Classes = None) -> None:
    """CUB-200-2011, with the majority's segmentations as masks and the official split."""
    from rate.data.make.layouts.cub200 import read_cub200

    _write(read_cub200(root, boxes=boxes, names=_named(classes)), root, out)


@app.command("stanford-dogs")
def stanford_dogs(root: Root, out: Out, classes: DogClasses = None) -> None:
    """Stanford Dogs, with its boxes and the official split."""
    from rate.data.make.layouts.stanford_dogs import read_stanford_dogs

    _write(read_stanford_dogs(root, names=_named(classes)), root, out)


@app.command("imagenet")
def imagenet(
    root: Root,
    out: Out,
    split: Annotated[str, typer.Option(help="val or train.")] = "val",
    boxes: Annotated[
        Path | None, typer.Option(help="LOC_val_solution.csv or a folder of Pascal VOC files; found in the set.")
    ] = None,
    classes: SynsetClasses = None,
    synsets: Synsets = False,
) -> None:
    """ImageNet-1K, with the boxes of each image's class."""
    from rate.data.make.layouts.imagenet import read_imagenet

    _write(read_imagenet(root, split=split, boxes=boxes, names=_synset_names(classes, synsets)), root, out)


@app.command("imagenet-c")
def imagenet_c(
    root: Root,
    out: Out,
    clean: Annotated[Path, typer.Option(help="Manifest of the clean images, as `rate data index imagenet` writes it.")],
    corrupt: Annotated[list[str] | None, typer.Option(help="fog:3, fog, all:3; repeatable; all there is.")] = None,
) -> None:
    """ImageNet-C, with labels and regions from the clean images; its splits are called fog:3."""
    from rate.data.images.corrupt import parse_corruption
    from rate.data.make.layouts.imagenet import read_imagenet_c

    wanted = None if corrupt is None else tuple(one for text in corrupt for one in parse_corruption(text))
    _write(read_imagenet_c(root, clean=clean, corruptions=wanted), root, out)


@app.command("imagenet-s")
def imagenet_s(
    root: Root,
    out: Out,
    split: Annotated[str, typer.Option(help="validation or train-semi.")] = "validation",
    categories: Annotated[
        Path | None, typer.Option(help="ImageNetS_categories_im*.txt, where folders of classes are missing.")
    ] = None,
    classes: SynsetClasses = None,
    synsets: Synsets = False,
) -> None:
    """ImageNet-S, with the pixels of each image's class as masks."""
    from rate.data.make.layouts.imagenet import read_imagenet_s

    names = _synset_names(classes, synsets)
    _write(read_imagenet_s(root, split=split, categories=categories, names=names), root, out)


def _named(classes: Path | None) -> Mapping[str, str] | None:
    from rate.data.make.layouts.base import read_names

    return None if classes is None else read_names(classes)


def _synset_names(classes: Path | None, synsets: bool) -> Mapping[str, str] | None:
    from rate.data.make.layouts.base import open_clip_names

    if synsets and classes is not None:
        raise ConfigError(f"--synsets and --classes {classes} name the classes twice; give one of them")
    if synsets:
        return None
    return open_clip_names() if classes is None else _named(classes)


def _write(entries: Iterable[Entry | LeftOut], root: Path, out: Path) -> None:
    from rate.data.make.layouts.write import write_layout

    _say(write_layout(entries, root, out))


def _say(report: ManifestReport) -> None:

    for line in report.notices():
        notice(line)
    say("\n".join([f"{report.out}: {counted(report.rows, 'row')}", *counts_text(report.classes, report.splits)]))
