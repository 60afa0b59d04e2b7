"""`rate data index`: a manifest for a set as it lies on the disk, or of a public set in its original layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from rate.cli.layouts import Out, built_in, layout, say_report, write_entries
from rate.cli.options import Shown, with_settings
from rate.data.make.layouts.layout import Layout
from rate.errors import ConfigError
from rate.reading import MASKS, Reading

Root = Annotated[Path, typer.Argument(help="Folder of the set, as its archives unpack.")]
Classes = Annotated[Path | None, typer.Option(help="Class names, a line `KEY NAME`: KEY is the class's folder.")]
Columns = Annotated[
    str | None, typer.Option(help="Columns of the table: image=picture,label=kind,x0=left; by their usual names.")
]
Shares = Annotated[bool, typer.Option("--shares", help="Coordinates are shares of the image, from 0 to 1.")]
Boxes = Annotated[bool, typer.Option("--boxes", help="Take the boxes as regions, not the outlines.")]


@built_in("folder")
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
    boxes: Annotated[Path | None, typer.Option(help="Table of boxes instead of masks, see `table`.")] = None,
    columns: Columns = None,
    shares: Shares = False,
    reading: Annotated[Reading, Shown(only=MASKS)],
) -> None:
    """Write a manifest for IMAGES/CLASS/FILE (or IMAGES/SPLIT/CLASS/FILE) and its masks or boxes."""
    from rate.data.make import index
    from rate.data.make.layouts.box_tables import read_table

    if boxes is not None and masks is not None:
        raise ConfigError(f"--masks {masks} and --boxes {boxes} both give the regions; give one of them")
    if boxes is not None:
        entries = read_table(boxes, images, columns=columns, shares=shares, labelled=False, splits=splits)
        write_entries(Layout(entries, images), out)
        return

    say_report(index.index_folder(images, out, masks=masks, mask_pattern=mask_pattern, splits=splits, reading=reading))


@built_in("coco")
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

    say_report(coco.index_coco(annotations, images, out, regions=regions, max_bytes=max_json_bytes))


@layout("voc")
def voc(root: Root, boxes: Boxes = False, classes: Classes = None) -> Layout:
    """Pascal VOC: a row for each image and class, with its pixels; the border of objects is ignored."""
    from rate.data.make.layouts.pascal_voc import read_pascal_voc, voc_masks

    names = named(classes)
    return Layout(read_pascal_voc(root, boxes=boxes, names=names), root, None if boxes else voc_masks(names))


@layout("yolo")
def yolo(
    config: Annotated[Path, typer.Argument(help="YAML of the set: path, train, val, names.")],
    images: Annotated[Path | None, typer.Option(help="Folder of images, instead of those that the YAML names.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder of labels; beside that of the images.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test alone.")] = None,
    boxes: Boxes = False,
) -> Layout:
    """YOLO's boxes, or outlines drawn as masks: a row for each image and class in it."""
    from rate.data.make.layouts.yolo import read_yolo

    entries = read_yolo(config, images=images, labels=labels, split=split, boxes=boxes)
    return Layout(entries)


@layout("coco-panoptic")
def coco_panoptic(
    annotations: Annotated[Path, typer.Argument(help="COCO's panoptic JSON.")],
    masks: Annotated[Path, typer.Option(help="Folder of its PNG files.")],
    images: Annotated[Path, typer.Option(help="Folder that `file_name` of an image starts from.")],
    stuff: Annotated[bool, typer.Option("--stuff", help="Also classes that are no things, such as sky.")] = False,
) -> Layout:
    """COCO panoptic: a row for each image and class, with its segments drawn; unlabelled pixels are ignored."""
    from rate.data.make.layouts.panoptic import read_panoptic

    return Layout(read_panoptic(annotations, masks, images, stuff=stuff))


@layout("class-masks")
def class_masks(
    images: Annotated[Path, typer.Argument(help="Folder of images.")],
    masks: Annotated[Path, typer.Option(help="Folder of the same structure; a pixel is the number of a class.")],
    classes: Annotated[Path, typer.Option(help="Lines `VALUE CLASS`, or ADE20K's objectInfo150.txt.")],
    mask_ignore: Annotated[str | None, typer.Option(help="Values that are neither object nor rest, as 255.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of all rows.")] = None,
) -> Layout:
    """ADE20K, COCO-Stuff, Cityscapes and the like: a row for each image and class in its mask."""
    from rate.data.make.layouts.class_masks import read_class_masks, read_class_numbers
    from rate.data.mask_table import MaskDocument

    numbers = read_class_numbers(classes)
    document = MaskDocument(ignore=mask_ignore, classes={name: number for number, name in numbers.items()})
    return Layout(read_class_masks(images, masks, numbers, ignore=mask_ignore, split=split), masks=document)


@layout("table")
def table(
    file: Annotated[Path, typer.Argument(metavar="TABLE", help="Text with a header: image, class and corners a row.")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    columns: Columns = None,
    shares: Shares = False,
) -> Layout:
    """One table of boxes: columns as filename, class, xmin, ...; any separator."""
    from rate.data.make.layouts.box_tables import read_table

    return Layout(read_table(file, images, columns=columns, shares=shares))


def named(classes: Path | None) -> Mapping[str, str] | None:
    """Read the class names of a file; None without one."""
    from rate.data.make.layouts.base import read_names

    return None if classes is None else read_names(classes)


def synset_names(classes: Path | None, synsets: bool) -> Mapping[str, str] | None:
    """Return the names of ImageNet's classes: of a file, open_clip's, or none where synsets are kept."""
    from rate.data.make.layouts.base import open_clip_names

    if synsets and classes is not None:
        raise ConfigError(f"--synsets and --classes {classes} name the classes twice; give one of them")
    if synsets:
        return None
    return open_clip_names() if classes is None else named(classes)
