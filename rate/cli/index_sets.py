"""`rate data index` of public sets in their original layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rate.cli.index import Boxes, Classes, Root, named, synset_names
from rate.cli.layouts import Out, app, built_in, layout, write_entries
from rate.cli.options import Shown, with_settings
from rate.data.make.layouts.layout import Layout
from rate.reading import OF_MANIFESTS, Reading

__all__ = ["app"]

SynsetClasses = Annotated[
    Path | None, typer.Option(help="Class names, a line `SYNSET NAME`; open_clip's names without it.")
]
DogClasses = Annotated[Path | None, typer.Option(help="Class names, a line `SYNSET NAME`; the folders' without it.")]
Synsets = Annotated[bool, typer.Option("--synsets", help="Name the classes by their synsets.")]


@layout("caltech101")
def caltech101(root: Root, boxes: Boxes = False, classes: Classes = None) -> Layout:
    """Caltech-101, with its contours as masks."""
    from rate.data.make.layouts.caltech101 import read_caltech101

    return Layout(read_caltech101(root, boxes=boxes, names=named(classes)), root)


@layout("cub200")
def cub200(root: Root, boxes: Boxes = False, classes: Classes = None) -> Layout:
    """CUB-200-2011, with the majority's segmentations as masks and the official split."""
    from rate.data.make.layouts.cub200 import read_cub200

    return Layout(read_cub200(root, boxes=boxes, names=named(classes)), root)


@layout("stanford-dogs")
def stanford_dogs(root: Root, classes: DogClasses = None) -> Layout:
    """Stanford Dogs, with its boxes and the official split."""
    from rate.data.make.layouts.stanford_dogs import read_stanford_dogs

    return Layout(read_stanford_dogs(root, names=named(classes)), root)


@layout("imagenet")
def imagenet(
    root: Root,
    split: Annotated[str, typer.Option(help="val or train.")] = "val",
    boxes: Annotated[
        Path | None, typer.Option(help="LOC_val_solution.csv or a folder of Pascal VOC files; found in the set.")
    ] = None,
    classes: SynsetClasses = None,
    synsets: Synsets = False,
) -> Layout:
    """ImageNet-1K, with the boxes of each image's class."""
    from rate.data.make.layouts.imagenet import read_imagenet

    return Layout(read_imagenet(root, split=split, boxes=boxes, names=synset_names(classes, synsets)), root)


@built_in("imagenet-c")
@with_settings
def imagenet_c(
    folder: Root,  # not `root`, which is a field of `Reading`
    *,
    out: Out,
    clean: Annotated[Path, typer.Option(help="Manifest of the clean images, as `rate data index imagenet` writes it.")],
    corrupt: Annotated[list[str] | None, typer.Option(help="fog:3, fog, all:3; repeatable; all there is.")] = None,
    reading: Annotated[Reading, Shown("How the clean set is read", OF_MANIFESTS)],
) -> None:
    """ImageNet-C, with labels and regions from the clean images; its splits are called fog:3."""
    from rate.data.images.corrupt import parse_corruption
    from rate.data.make.layouts.imagenet import read_imagenet_c

    wanted = None if corrupt is None else tuple(one for text in corrupt for one in parse_corruption(text))
    write_entries(Layout(read_imagenet_c(folder, clean=clean, corruptions=wanted, reading=reading), folder), out)


@layout("imagenet-s")
def imagenet_s(
    root: Root,
    split: Annotated[str, typer.Option(help="validation or train-semi.")] = "validation",
    categories: Annotated[
        Path | None, typer.Option(help="ImageNetS_categories_im*.txt, where folders of classes are missing.")
    ] = None,
    classes: SynsetClasses = None,
    synsets: Synsets = False,
) -> Layout:
    """ImageNet-S, with the pixels of each image's class as masks."""
    from rate.data.make.layouts.imagenet import read_imagenet_s

    names = synset_names(classes, synsets)
    return Layout(read_imagenet_s(root, split=split, categories=categories, names=names), root)


@layout("oxford-pets")
def oxford_pets(root: Root, classes: Classes = None) -> Layout:
    """Oxford-IIIT Pets, with its trimaps, whose border is ignored, and the official split."""
    from rate.data.make.layouts.oxford_pets import TRIMAPS, read_oxford_pets

    return Layout(read_oxford_pets(root, names=named(classes)), root, TRIMAPS)


@layout("imagenet-9")
def imagenet_9(
    root: Root,
    variant: Annotated[str, typer.Option(help="original, mixed_same, mixed_rand or mixed_next.")] = "original",
    classes: Classes = None,
) -> Layout:
    """ImageNet-9 of the Backgrounds Challenge, with its foregrounds as masks."""
    from rate.data.make.layouts.backgrounds import read_imagenet9

    return Layout(read_imagenet9(root, variant=variant, names=named(classes)), root)


@layout("hard-imagenet")
def hard_imagenet(
    root: Annotated[Path, typer.Argument(help="Folder of the masks, SPLIT/SYNSET_NAME.JPEG.")],
    images: Annotated[Path, typer.Option(help="ImageNet in torchvision's folders, SPLIT/SYNSET/NAME.JPEG.")],
    split: Annotated[str, typer.Option(help="val or train.")] = "val",
    classes: SynsetClasses = None,
    synsets: Synsets = False,
) -> Layout:
    """Hard ImageNet, with its segmentations as masks."""
    from rate.data.make.layouts.backgrounds import read_hard_imagenet

    names = synset_names(classes, synsets)
    return Layout(read_hard_imagenet(root, images, split=split, names=names))


@layout("waterbirds")
def waterbirds(
    root: Root,
    segmentations: Annotated[Path, typer.Option(help="CUB's folder of segmentations.")],
    classes: Classes = None,
) -> Layout:
    """Waterbirds, with CUB's segmentations as masks; group = the place, land or water."""
    from rate.data.make.layouts.backgrounds import read_waterbirds

    return Layout(read_waterbirds(root, segmentations, names=named(classes)), root)


@layout("spawrious")
def spawrious(
    root: Root,
    masks: Annotated[Path, typer.Option(help="Folder of the same structure with masks, which the set has none of.")],
    classes: Classes = None,
) -> Layout:
    """Spawrious, with masks of another tool; group = the place, split = the environment."""
    from rate.data.make.layouts.backgrounds import read_spawrious

    return Layout(read_spawrious(root, masks, names=named(classes)), root)


@layout("open-images")
def open_images(
    root: Annotated[Path, typer.Argument(help="Folder of the tables.")],
    images: Annotated[Path, typer.Option(help="Folder of the split's images.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    classes: Classes = None,
) -> Layout:
    """Open Images, with its boxes: a row for each image and class in it."""
    from rate.data.make.layouts.box_tables import read_open_images

    return Layout(read_open_images(root, images, split=split, names=named(classes)))
