"""A credential that comes in by any way is in nothing that a command writes or prints."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet

from rate.cli import main
from rate.cli.main import run

SECRET = "CaNaRy"
SIGNED = f"X-Amz-Credential={SECRET}1%2Fus&X-Amz-Signature={SECRET}2"


class Guarded(MemoryFileSystem):
    """A storage whose URLs carry credentials, and that repeats them in its errors."""

    protocol = "guarded"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        bare = path.removeprefix("guarded://").rpartition("@")[2].partition("?")[0]
        return "/" + bare.strip("/")

    def _open(self, path: str, mode: str = "rb", **settings: Any) -> Any:
        if "missing" in path:
            raise OSError(
                f"530 user me with password {SECRET}pw refused at guarded://me:{SECRET}pw@host{path}?{SIGNED}"
            )
        return super()._open(path, mode, **settings)


def url(name: str) -> str:
    return f"guarded://me:{SECRET}pw@host/{name}?{SIGNED}"


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RATE_REMOTE_SECONDS", "3")  # and so do the waits between tries get shorter
    monkeypatch.chdir(tmp_path)
    yield
    Guarded.store.clear()


@pytest.fixture
def remote_manifest(trained: Any, storage: None, tmp_path: Path) -> Path:
    rows = []
    for number, path in enumerate(sorted(trained.manifest.parent.glob("*.png"))[:4]):
        name = path.name if number else "missing.png"
        fsspec.filesystem("guarded").pipe(f"guarded://host/{path.name}", path.read_bytes())
        rows.append({"image": url(name), "label": ("dark", "light")[number % 2], "boxes": [[0, 0, 20, 20]]})
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def everything_under(folder: Path) -> str:
    """Names and contents of all files; Parquet as what is in it."""
    found = []
    for path in sorted(folder.rglob("*")):
        found.append(path.name)
        if path.suffix == ".parquet":
            found.append(str(parquet.read_table(path).to_pydict()))
        elif path.is_file():
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(found)


def check(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    text = everything_under(folder) + shown.out + shown.err
    assert SECRET not in text
    return text


def test_from_the_images_of_a_manifest(
    trained: Any, remote_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    common = ["--masks", "16", "--threads", "1", "--max-errors", "3"]
    assert run(["eval", str(trained.artifact), str(remote_manifest), "--out", str(out), *common]) == 0
    text = check(out, capsys)
    assert "guarded://host/missing.png: cannot be read" in text  # the error names the object
    assert "guarded://host/1.png" in text  # the id, too
    for line in ("show out --json", "status out --json", "report out --data m.jsonl --out out/r.html", "gate out"):
        run([*line.split(), *(["--policy", "p.toml"] if line == "gate out" else [])])
    check(out, capsys)
    run(["data", "check", str(remote_manifest)])
    run(["data", "pack", str(remote_manifest), "--out", str(tmp_path / "packed")])
    check(tmp_path / "packed", capsys)


def test_from_data(trained: Any, storage: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number in range(4):
            described = json.dumps({"label": ("dark", "light")[number % 2], "boxes": [[0, 0, 20, 20]]}).encode()
            pixels = (trained.manifest.parent / f"{number}.png").read_bytes()
            for name, data in ((f"{number}.png", pixels), (f"{number}.json", described)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    fsspec.filesystem("guarded").pipe("guarded://host/set.tar", content.getvalue())
    out = tmp_path / "out"
    line = ["eval", str(trained.artifact), url("set.tar"), "--out", str(out), "--masks", "16", "--threads", "1"]
    assert run([*line, "--log-json", "--json"]) == 0
    text = check(out, capsys)
    assert json.loads((out / "run.json").read_text())["origin"]["data"] == "guarded://host/set.tar"
    assert "complete" in text
    again = [part.replace(f"{SECRET}2", "signed-again") for part in line]
    assert run(again) == 0  # goes on in the same run
    assert run(["report", str(out), "--data", url("set.tar"), "--out", str(tmp_path / "out" / "r.html")]) == 0
    check(out, capsys)
    assert SECRET not in everything_under(tmp_path / "cache").replace(content.getvalue().decode("utf-8", "replace"), "")


@pytest.mark.parametrize("name", ["missing.tar", "missing.parquet", "none.csv", "missing*.tar", "x"])
def test_from_data_that_cannot_be_read(
    trained: Any, storage: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(["eval", str(trained.artifact), url(name), "--out", str(tmp_path / "out")]) == 2
    text = check(tmp_path, capsys)
    assert "error: " in text
    assert run(["bench", str(trained.artifact), "--data", url(name)]) == 2
    assert run(["explain", str(trained.artifact), url(name)]) == 2
    assert run(["data", "check", url(name)]) == 2
    check(tmp_path, capsys)


def test_from_a_defect(
    storage: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def main(self, *arguments: object, **settings: object) -> None:
            raise ZeroDivisionError(f"{url('a')} with password {SECRET}pw")

    monkeypatch.setattr(main, "command", Broken)
    monkeypatch.setattr("sys.argv", ["rate", "eval", url("a")])
    assert run(["eval", url("a")]) == 4
    text = check(tmp_path, capsys)
    assert "ZeroDivisionError" in text


def test_from_a_run_and_an_artifact_of_an_older_version(
    trained: Any, storage: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["eval", str(trained.artifact), str(trained.manifest), "--out", "r", "--masks", "16"]) == 0
    record = tmp_path / "r" / "run.json"
    document = json.loads(record.read_text())
    del document["sha256"]  # as whoever edits it by hand has to
    document["origin"] |= {"data": url("set.tar"), "artifact": url("a")}
    record.write_text(json.dumps(document))
    artifact = Path(shutil.copytree(trained.artifact, tmp_path / "artifact"))
    described = json.loads((artifact / "artifact.json").read_text()) | {"source": url("model")}
    (artifact / "artifact.json").write_text(json.dumps(described))
    capsys.readouterr()
    for line in ("show r", "status r", "report r --out page.html", "inspect artifact", "inspect artifact --json"):
        assert run(line.split()) == 0
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err + (tmp_path / "page.html").read_text()
