"""Text files that a user names: a pipe, a device, a folder or a giant is refused at once with one message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rate.bench.history import read_history
from rate.cli.data import check
from rate.cli.main import run
from rate.data.make.coco import index_coco
from rate.data.make.layouts.base import read_names
from rate.data.make.layouts.imagenet import read_solution
from rate.errors import EXIT_USAGE, RateError
from rate.export.options import read_classes
from rate.export.sources.prompts import read_prompts, read_templates
from rate.files import MAX_BYTES, read_toml
from rate.report.gate.policy import read_policy

CHECK: dict[str, Any] = {"data": "set.csv", "split": None, "no_decode": False, "threads": 2}
CHECK |= {"classes_out": None, "as_json": False}

READERS: dict[str, Callable[[Path], object]] = {
    "config": lambda path: read_toml(path, "--config"),
    "policy": read_policy,
    "classes": lambda path: read_classes(path, None),
    "classes.json": lambda path: read_prompts(path, None),
    "templates": read_templates,
    "classes of a check": lambda path: check(**CHECK, classes=path),
    "names of a layout": read_names,
    "boxes of ImageNet": read_solution,
    "COCO": lambda path: index_coco(path, path.parent, path.with_name("manifest.csv"), max_bytes=MAX_BYTES),
    "bench": lambda path: read_history(path, "--against"),
}


def giant(path: Path) -> None:
    path.touch()
    os.truncate(path, MAX_BYTES + 1)


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (os.mkfifo, "no regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "a folder": (Path.mkdir, "no regular file"),
    "a giant": (giant, "has 268,435,457 bytes, the limit is"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xff"), "codec can't decode byte 0xff"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_text_of_a_reasonable_size_is_refused(tmp_path: Path, reader: str, other: str) -> None:
    path = tmp_path / Path(reader).with_stem("named").name
    make, message = OTHERS[other]
    make(path)
    with pytest.raises(RateError, match=message) as refused:
        READERS[reader](path)
    assert str(path) in str(refused.value)
    assert refused.value.exit_code == EXIT_USAGE


def test_a_byte_order_mark_is_no_part_of_a_setting(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfseed = 5\r\n")
    assert read_toml(tmp_path / "c.toml", "--config") == {"seed": 5}


def test_a_command_says_so_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert run(["eval", "artifact", "set.csv", "--out", "run", "--config", str(tmp_path / "pipe")]) == EXIT_USAGE
    assert "it is no regular file" in capsys.readouterr().err
