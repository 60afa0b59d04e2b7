"""Stanford Dogs: boxes and the official split.

Layout, from the set's README and lists: `Images/n02085620-Chihuahua/n02085620_7.jpg`, a Pascal VOC annotation without a
suffix at `Annotation/n02085620-Chihuahua/n02085620_7`, and `train_list.mat` and `test_list.mat` with the cell array
`file_list`. Khosla, Jayadevaprakash, Yao, Fei-Fei, "Novel Dataset for Fine-Grained Image Categorization", 2011.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut, below, class_name, file_of, folder_of
from rate.data.make.layouts.mat import load_mat, texts
from rate.data.make.layouts.voc import read_voc
from rate.errors import DataError, SampleError


def read_stanford_dogs(root: Path, *, names: Mapping[str, str] | None = None) -> Iterator[Entry | LeftOut]:
    """Yield every image of the two lists with the boxes of its dogs.

    Args:
        root: the folder that holds `Images`, `Annotation` and the lists (these may be in `lists`).
        names: synset -> class name; the default is the folder's name after the synset, with spaces for underscores.

    Raises:
        DataError: a folder or a list is missing or malformed, or an image is in both lists.
        MissingExtra: scipy is not installed.
    """
    images, annotations = folder_of(root, "Images", "images"), folder_of(root, "Annotation", "annotations")
    for written, (split, source) in _lists(root).items():
        image = below(images, written, source)
        annotation = below(annotations, written, source).with_suffix("")
        synset, _, breed = image.parent.name.partition("-")
        if not annotation.is_file():
            yield LeftOut(image, MISSING)
            continue
        try:
            objects = read_voc(annotation)
        except SampleError as error:
            yield LeftOut(image, BROKEN, str(error))
            continue
        label = class_name(names, synset, breed.replace("_", " ") or synset)
        yield Entry(image, label, tuple(box for _, box in objects.objects), split, annotated=objects.size)


def _lists(root: Path) -> dict[str, tuple[str, Path]]:
    """Map each file to (split, list that names it), train before test."""
    files: dict[str, tuple[str, Path]] = {}
    for split in ("train", "test"):
        path = file_of(root, f"{split}_list.mat", f"lists/{split}_list.mat")
        try:
            listed = texts(path, load_mat(path, ("file_list",))["file_list"])
        except SampleError as error:
            raise DataError(f"the list of split {split}: {error}") from error
        for written in listed:
            if written in files:
                raise DataError(f"{path}: {written!r} is listed twice, the first time in {files[written][1]}")
            files[written] = split, path
    return files
