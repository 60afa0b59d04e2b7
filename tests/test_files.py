"""Files and folders of ours: whole or absent, at every failure and after every kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from rate.errors import StorageError
from rate.files import (
    folder_instead,
    is_temporary,
    new_folder,
    remove_leftovers,
    storing,
    write_atomically,
)
from rate.records import write

KILLED = """
import os, signal, sys
from pathlib import Path
from rate.files import new_folder, write_atomically
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "file":
    write_atomically(Path(sys.argv[2]), die)
with new_folder(Path(sys.argv[2])) as draft:
    (draft / "half").touch()
    die()
"""


def killed(kind: str, path: Path) -> None:
    """Let a process die by SIGKILL while it writes ``path``."""
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write(path, {"a": 1})

    def fails(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(StorageError, match=r"file\.json cannot be written: disk full"):
        write_atomically(path, fails)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_our_file_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "run.json").symlink_to("theirs")
    write(tmp_path / "run.json", {})
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert not (tmp_path / "run.json").is_symlink()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"

    def broken_off() -> None:
        with new_folder(out) as draft:
            (draft / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert not any(out.parent.iterdir())
    with new_folder(out) as draft:
        (draft / "whole").touch()
        assert not out.exists()
    assert [path.relative_to(out.parent).as_posix() for path in out.parent.rglob("*")] == ["out", "out/whole"]


def test_a_folder_that_holds_something_by_now_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def written() -> None:
        with new_folder(out):
            out.mkdir()
            (out / "theirs").touch()

    with pytest.raises(StorageError, match=str(out)):
        written()
    assert [path.name for path in out.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("make", [new_folder, folder_instead])
def test_where_the_name_is_a_link_what_it_leads_to_is_made(tmp_path: Path, make) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "out").symlink_to("large disk")
    with make(tmp_path / "out") as draft:
        (draft / "new").touch()
    assert (tmp_path / "out").is_symlink()
    assert [path.name for path in (tmp_path / "large disk").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large disk", "out"]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with folder_instead(out) as draft:
        (draft / "new").touch()
        assert [path.name for path in out.iterdir()] == ["old"]
    assert [path.name for path in out.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path, kind: str) -> None:
    killed(kind, tmp_path / "out")
    [left] = tmp_path.iterdir()
    assert is_temporary(left.name)
    foreign = [tmp_path / name for name in (".out.tmp", "out.tmp", ".out.123.tmp", ".rate-tmp")]
    for path in foreign:
        path.touch()

    def look(draft: object) -> None:
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.iterdir())) == len(foreign) + 1, "what is being written is there, what was left is not"

    if kind == "file":
        write_atomically(tmp_path / "out", look)
    else:
        with new_folder(tmp_path / "out") as draft:
            look(draft)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", *(path.name for path in foreign)])


def test_a_new_folder_removes_what_was_left_of_it_and_of_nothing_else(tmp_path: Path) -> None:
    killed("folder", tmp_path / "out")
    killed("folder", tmp_path / "other")
    with new_folder(tmp_path / "out"):
        pass
    assert sorted(path.name.split(".rate-")[0] for path in tmp_path.iterdir()) == [".other", "out"]


def test_a_link_with_a_temporary_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "photograph").touch()
    (tmp_path / f".out.rate-{'0' * 16}.tmp").symlink_to("theirs")
    remove_leftovers(tmp_path)
    assert (tmp_path / "theirs" / "photograph").exists()


def full(place: str) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "raised",
    [
        full("/elsewhere/unsaid"),
        RuntimeError("PytorchStreamWriter failed writing file data/1: No space left on device"),
        ValueError("unexpected pos 64 vs 0: Input/output error (os error 5)"),
        caused(RuntimeError("it went wrong"), full("x")),
        FileNotFoundError(errno.ENOENT, "gone", "OUT/inside"),
    ],
    ids=["full", "only a text", "input/output", "behind another", "the folder went away"],
)
def test_what_a_failing_disk_raises_is_a_message_about_the_place(tmp_path: Path, raised: Exception) -> None:
    if isinstance(raised, FileNotFoundError):
        raised.filename = str(tmp_path / "out" / "inside")
    with pytest.raises(StorageError, match=str(tmp_path / "out")), storing(tmp_path / "out"):
        raise raised


@pytest.mark.parametrize("raised", [FileNotFoundError(errno.ENOENT, "absent", "/input"), ZeroDivisionError("x")])
def test_other_errors_pass_through(tmp_path: Path, raised: Exception) -> None:
    with pytest.raises(type(raised)), storing(tmp_path / "out"):
        raise raised
