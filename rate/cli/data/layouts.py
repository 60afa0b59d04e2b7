"""`rate data index NAME`: manifests of public data sets in their original layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.errors import ConfigError

if TYPE_CHECKING:
    from rate.data.make.layouts.base import Entry, LeftOut

Root = Annotated[Path, typer.Argument(help="Folder of the set, as its archives unpack.")]
Out = Annotated[Path, typer.Option(help="Manifest to write: .csv, .jsonl or .parquet, in a folder above the set.")]
Classes = Annotated[Path | None, typer.Option(help="Class names, a line `KEY NAME`: KEY is the class's folder.")]
Boxes = Annotated[bool, typer.Option("--boxes", help="Take the boxes as regions, not the outlines.")]
SynsetClasses = Annotated[
    Path | None, typer.Option(help="Class names, a line `SYNSET NAME`; open_clip's names without it.")
]
DogClasses = Annotated[Path | None, typer.Option(help="Class names, a line `SYNSET NAME`; the folders' without it.")]
Synsets = Annotated[bool, typer.Option("--synsets", help="Name the classes by their synsets.")]


def register(index_app: typer.Typer) -> None:
    """Add a command for each data set."""
    for name, command in _COMMANDS.items():
        index_app.command(name)(command)


def caltech101(root: Root, out: Out, boxes: Boxes = False, classes: Classes = None) -> None:
    """Caltech-101, with its contours as masks."""
    from rate.data.make.layouts.caltech101 import read_caltech101

    _write(read_caltech101(root, boxes=boxes, names=_named(classes)), root, out)


def cub200(root: Root, out: Out, boxes: Boxes = False, classes: Classes = None) -> None:
    """CUB-200-2011, with the majority's segmentations as masks and the official split."""
    from rate.data.make.layouts.cub200 import read_cub200

    _write(read_cub200(root, boxes=boxes, names=_named(classes)), root, out)


def stanford_dogs(root: Root, out: Out, classes: DogClasses = None) -> None:
    """Stanford Dogs, with its boxes and the official split."""
    from rate.data.make.layouts.stanford_dogs import read_stanford_dogs

    _write(read_stanford_dogs(root, names=_named(classes)), root, out)


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


def imagenet_c(
    root: Root,
    out: Out,
    clean: Annotated[Path, typer.Option(help="Manifest of the clean images, as `rate data index imagenet` writes it.")],
    corrupt: Annotated[list[str] | None, typer.Option(help="fog:3, fog, all:3; repeatable; all there is.")] = None,
) -> None:
    """ImageNet-C, with labels and regions from the clean images; its splits are called fog:3."""
    from rate.data.images.corrupt import parse_corruption
    from rate.data.make.layouts.imagenet_c import read_imagenet_c

    wanted = None if corrupt is None else tuple(one for text in corrupt for one in parse_corruption(text))
    _write(read_imagenet_c(root, clean=clean, corruptions=wanted), root, out)


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
    from rate.data.make.layouts.imagenet_s import read_imagenet_s

    names = _synset_names(classes, synsets)
    _write(read_imagenet_s(root, split=split, categories=categories, names=names), root, out)


_COMMANDS: dict[str, Callable[..., None]] = {
    "caltech101": caltech101,
    "cub200": cub200,
    "stanford-dogs": stanford_dogs,
    "imagenet": imagenet,
    "imagenet-c": imagenet_c,
    "imagenet-s": imagenet_s,
}


def _named(classes: Path | None) -> Mapping[str, str] | None:
    from rate.data.make.layouts.names import read_names

    return None if classes is None else read_names(classes)


def _synset_names(classes: Path | None, synsets: bool) -> Mapping[str, str] | None:
    from rate.data.make.layouts.names import open_clip_names

    if synsets and classes is not None:
        raise ConfigError(f"--synsets and --classes {classes} name the classes twice; give one of them")
    if synsets:
        return None
    return open_clip_names() if classes is None else _named(classes)


def _write(entries: Iterable[Entry | LeftOut], root: Path, out: Path) -> None:
    from rate.cli.console import notice, say
    from rate.cli.data.commands import index_text
    from rate.data.make.layouts.write import write_layout

    report = write_layout(entries, root, out)
    for line in report.notices():
        notice(line)
    say(index_text(report))
