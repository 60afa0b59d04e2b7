"""artifact.json and checkpoint.json with any one value replaced: read or refused, by a message that can be printed."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rate.artifacts.artifact import load_artifact
from rate.artifacts.checkpoint import load_checkpoint
from rate.artifacts.parity_sample import load_sample
from rate.cli.inspect import describe
from rate.cli.main import run
from rate.errors import RateError
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source
from rate.records import read_json, written

RAW = (
    *("null", '"\\ud800"', "1e999", "[]", "{}", '""', "-1", "true", "0.5", '"\\u0000"', '["x"]', '{"x": null}', "0"),
    *("9" * 18, "9" * 5000, "1e308", "[" * 500 + "]" * 500),
)
"""Values as they are written in a file; some of them cannot be made from Python."""


def places(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be replaced."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*at, key)
        yield from places(part, (*at, key))


def replaced(document: Any, at: tuple[Any, ...], raw: str) -> str:
    document = copy.deepcopy(document)
    owner = document
    for key in at[:-1]:
        owner = owner[key]
    owner[at[-1]] = "@HERE@"
    return json.dumps(document).replace('"@HERE@"', raw)


def inspected(folder: Path) -> None:
    artifact = load_artifact(folder)
    describe(artifact).encode()
    written(artifact.document).encode()
    assert artifact.digest
    load_sample(artifact)


def opened(folder: Path) -> None:
    load_checkpoint(folder)
    open_source(str(folder), ExportOptions())


@pytest.mark.parametrize(("kind", "use"), [("artifact", inspected), ("checkpoint", opened)])
def test_any_value_is_read_or_refused(trained: Any, tmp_path: Path, kind: str, use: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(getattr(trained, kind), tmp_path / kind))
    path = folder / f"{kind}.json"
    document = json.loads(path.read_text())
    use(folder)
    refused = 0
    for place in places(document):
        for raw in RAW:
            path.write_text(replaced(document, place, raw))
            try:
                use(folder)
            except RateError as error:
                str(error).encode()
                refused += 1
    assert refused > 200


@pytest.mark.parametrize("raw", ['"\\ud800"', "1e999", "[" * 500 + "]" * 500, "9" * 100, "-" + "9" * 30])
def test_what_no_document_of_ours_holds_is_no_json(raw: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(f'{{"a": [{raw}]}}')
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("raw", ['"\\ud83d\\ude00"', "1e308", "-1e308", "[" * 60 + "]" * 60, str(2**64 - 1)])
def test_what_can_be_used_is_read(raw: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(f'{{"a": [{raw}]}}')
    assert read_json(tmp_path / "x.json") == json.loads(f'{{"a": [{raw}]}}')


@pytest.mark.parametrize(
    "line", ["inspect {pipe}", "eval {pipe} m.csv --out r", "export {pipe} --out a", "inspect {within}"]
)
def test_a_pipe_is_refused_at_once(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "artifact.json")
    assert run(line.format(pipe=tmp_path / "pipe", within=tmp_path / "folder").split()) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_pipe_is_no_document(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(ValueError, match="no regular file"):
        read_json(tmp_path / "x.json")
