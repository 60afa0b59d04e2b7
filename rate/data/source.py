"""temporary"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rate.data.manifest import ParsedRow, parse_rows


def open_rows(data: str) -> Iterator[ParsedRow]:
    return parse_rows(Path(data))


def root_of(data: str) -> Path:
    return Path(data).parent
