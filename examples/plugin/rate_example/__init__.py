"""What this package adds to `rate`: the models `network:FILE`, and `rate data index pairs`."""

from pathlib import Path

from rate.data.make.layouts.layout import Layout
from rate.export.sources.source_string import SourceFamily

NETWORK = SourceFamily("network:FILE", module="rate_example.network", extra="export")


def pairs(root: Path) -> Layout:
    """Photographs CLASS-NUMBER.jpg, each with its mask CLASS-NUMBER.png beside it."""
    from rate.data.make.layouts.base import Entry

    images = sorted(root.glob("*.jpg"))
    return Layout([Entry(image, image.stem.rpartition("-")[0], image.with_suffix(".png")) for image in images], root)
