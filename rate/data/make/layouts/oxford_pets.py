"""Oxford-IIIT Pets: breeds with trimaps.

Layout, from the set's README: `images/Abyssinian_1.jpg`; `annotations/trainval.txt` and `test.txt` with lines `NAME
CLASS SPECIES BREED`; `annotations/trimaps/NAME.png`, 1 = pet, 2 = background, 3 = border and unclassified, of neither
side; `annotations/xmls/NAME.xml`, Pascal VOC with the box of the head, of a part of the images.
Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rate.data.make.layouts.base import MISSING, Entry, LeftOut, below, class_name, file_of, folder_of, text_lines
from rate.data.mask_table import MaskDocument

TRIMAPS = MaskDocument(values=1, ignore=3)


def read_oxford_pets(root: Path, *, names: Mapping[str, str] | None = None) -> Iterator[Entry | LeftOut]:
    """Yield every image of the two lists with its trimap as the mask, to be read by `TRIMAPS`.

    Args:
        root: the folder that holds `images` and `annotations`.
        names: breed (`english_setter`) -> class name; the default is the breed with spaces for underscores.

    Raises:
        DataError: a folder or a list is missing, or a list names a file outside the set.
    """
    images, annotations = folder_of(root, "images"), folder_of(root, "annotations")
    trimaps = folder_of(annotations, "trimaps")
    for split in ("trainval", "test"):
        source = file_of(annotations, f"{split}.txt")
        for line in text_lines(source):
            if line.startswith("#"):
                continue
            name = line.split()[0]
            image, trimap = below(images, f"{name}.jpg", source), below(trimaps, f"{name}.png", source)
            breed = name.rpartition("_")[0]
            if not trimap.is_file():
                yield LeftOut(image, MISSING)
                continue
            yield Entry(image, class_name(names, breed, breed.replace("_", " ")), trimap, split)
