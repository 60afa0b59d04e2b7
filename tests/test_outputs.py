"""Results at places that the user has named: pipes, devices, links, folders, and files that are there already."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rate.errors import StorageError, UsageError
from rate.outputs import append_output, require_new_folder, require_output, write_output
from rate.records import write

Send = Callable[[Path, bytes], None]


def replace(path: Path, content: bytes) -> None:
    write_output(path, lambda file: file.write(content))


both = pytest.mark.parametrize("send", [replace, append_output])


@both
def test_a_pipe_is_written_through_and_stays_a_pipe(tmp_path: Path, send: Send) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    require_output("--out", pipe)  # does not wait for a reader, and takes nothing from it
    send(pipe, b"result")
    reader.join(10)
    assert got == [b"result"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@both
def test_a_pipe_whose_reader_went_away_is_named(tmp_path: Path, send: Send) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    closer = threading.Timer(0.3, os.close, [reader])
    closer.start()
    with pytest.raises(StorageError, match=f"{pipe} cannot be written: Broken pipe"):
        send(pipe, b"x" * 10_000_000)
    closer.join()


@both
@pytest.mark.parametrize("name", ["/dev/null", "/dev/full", "link to null"])
def test_a_device_stays_a_device(tmp_path: Path, send: Send, name: str) -> None:
    path = Path(name)
    if name == "link to null":
        path = tmp_path / "null"
        path.symlink_to("/dev/null")
    before = path.lstat()
    require_output("--out", path)
    if name == "/dev/full":
        with pytest.raises(StorageError, match="/dev/full cannot be written: No space left"):
            send(path, b"result")
    else:
        send(path, b"result")
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)


@both
@pytest.mark.parametrize("chain", [1, 3])
def test_the_target_of_a_link_is_written_and_the_link_stays(tmp_path: Path, send: Send, chain: int) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    target.write_bytes(b"")
    target.chmod(0o640)
    (tmp_path / "0").symlink_to("elsewhere/target")
    for k in range(1, chain):
        (tmp_path / str(k)).symlink_to(str(k - 1))
    link = tmp_path / str(chain - 1)
    require_output("--out", link)
    send(link, b"result")
    assert link.is_symlink()
    assert target.read_bytes() == b"result"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@both
def test_a_link_to_what_is_not_there_yet_makes_it(tmp_path: Path, send: Send) -> None:
    (tmp_path / "link").symlink_to("new/target")
    require_output("--out", tmp_path / "link")
    send(tmp_path / "link", b"result")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "target").read_bytes() == b"result"


STREAMS = """
import sys
from pathlib import Path
from rate.outputs import append_output, require_output, write_output
path = Path(sys.argv[2])
print("before")
require_output("--out", path)
if sys.argv[1] == "replace":
    write_output(path, lambda file: file.write(b"result\\n"))
else:
    append_output(path, b"result\\n")
print("after")
"""


@pytest.mark.parametrize("how", ["replace", "append"])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("goes_to", ["a pipe", "a file"])
def test_standard_output_by_its_names(tmp_path: Path, how: str, name: str, goes_to: str) -> None:
    if not Path("/proc/self/fd/1").exists() and "proc" in name:
        pytest.skip("this system has no /proc")
    if name == "link":
        (tmp_path / "link").symlink_to("/dev/stdout")
        name = str(tmp_path / "link")
    command = [sys.executable, "-c", STREAMS, how, name]
    if goes_to == "a pipe":
        said = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    else:
        with (tmp_path / "file").open("wb") as file:
            subprocess.run(command, stdout=file, check=True, timeout=60)
        said = (tmp_path / "file").read_bytes()
    assert said == b"before\nresult\nafter\n"


@pytest.mark.parametrize("check", [require_output, require_new_folder])
@pytest.mark.parametrize("name", ["file/x", "x" * 250, "loop/x", "/proc/x/y"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, check, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / name
    with pytest.raises(UsageError) as refused:
        check("--out", path)
    assert f"--out {path}" in str(refused.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "loop"], "looking leaves nothing behind"


def test_looking_makes_no_folders(tmp_path: Path) -> None:
    require_output("--out", tmp_path / "a" / "b" / "c.html")
    require_new_folder("--out", tmp_path / "a" / "b")
    assert not any(tmp_path.iterdir())


@both
def test_a_folder_is_refused(tmp_path: Path, send: Send) -> None:
    (tmp_path / "link").symlink_to(".")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(UsageError, match=f"--out {path} is a folder"):
            require_output("--out", path)
        with pytest.raises(UsageError, match="is a folder"):
            send(path, b"result")


def test_a_failed_append_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match="No space left"):
        append_output(path, b"after\n")
    assert path.read_text() == "before\n"


def test_a_failed_replacement_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "x.json", {"a": 1})
    before = (tmp_path / "x.json").read_bytes()

    def fails(file: object) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(StorageError, match=r"x\.json cannot be written: Input/output error"):
        write_output(tmp_path / "x.json", fails)
    assert (tmp_path / "x.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
