"""Storage that is slow, fails for a while or for ever, or hangs: tried again, then an error of the sample; no hang."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from function_models import evaluate, job, light
from shard_files import archive
from stored_rows import stored

from rate.backends.fake import FakeSpec
from rate.data.evaluation_set import read_evaluation_set
from rate.data.storage import remote_cache, retries
from rate.data.storage.location import read_bytes
from rate.errors import ConfigError, DataError, SampleError

SILENCE_S = 0.4
released = threading.Event()


class Shaky(MemoryFileSystem):
    """The first part of a path says how it behaves."""

    protocol = "shaky"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    tries: ClassVar[dict[str, int]] = {}
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("shaky://").strip("/")

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        if mode != "rb":
            return super()._open(path, mode, **options)
        self.tries[path] = self.tries.get(path, 0) + 1
        if "/twice" in path and self.tries[path] <= 2:
            raise ConnectionError("reset by peer")
        if "/never" in path:
            raise ConnectionError("reset by peer")
        if "/slow" in path:
            time.sleep(SILENCE_S / 4)
        if "/hang" in path:
            released.wait(60)
        return super()._open(path, mode, **options)

    def get_file(self, rpath: str, lpath: str, **options: object) -> None:
        data = self.cat_file(self._strip_protocol(rpath))
        with Path(lpath).open("wb") as file:
            for part in (data[k : k + len(data) // 4 + 1] for k in range(0, len(data), len(data) // 4 + 1)):
                if "/trickle" in rpath:
                    time.sleep(SILENCE_S * 0.6)
                if "/stuck" in rpath and file.tell():
                    released.wait(60)
                file.write(part)
                file.flush()


@pytest.fixture(autouse=True)
def shaky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shaky]:
    monkeypatch.setattr(retries._Storage, "failures", 0)
    monkeypatch.setenv("RATE_REMOTE_SECONDS", str(SILENCE_S))
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    monkeypatch.setattr(Shaky, "tries", {})
    monkeypatch.setattr(Shaky, "store", {})
    fsspec.register_implementation("shaky", Shaky, clobber=True)
    released.clear()
    yield Shaky()
    released.set()  # what hangs may go


class Endless(MemoryFileSystem):
    """Sends zeros for ever, and does not say how many; counts them."""

    protocol = "endless"
    sent: ClassVar[list[int]] = []
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("endless://").strip("/")

    def info(self, path: str, **options: object) -> dict:
        return {"name": path, "size": None, "type": "file"}

    def ukey(self, path: str) -> str:
        return path

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        return Zeros(self.sent)


class Zeros(io.RawIOBase):
    def __init__(self, sent: list[int]) -> None:
        self.sent = sent

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "all of it never comes"
        self.sent.append(size)
        return bytes(size)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    fsspec.register_implementation("endless", Endless, clobber=True)
    monkeypatch.setattr(Endless, "sent", sent := [])
    return sent


@pytest.mark.parametrize("chain", ["", "simplecache::", "filecache::"])
def test_an_image_of_unknown_length_is_cut_off_at_its_limit(
    shaky: Shaky, endless: list[int], monkeypatch: pytest.MonkeyPatch, chain: str
) -> None:
    monkeypatch.setenv("RATE_MAX_BYTES", "3000000")
    with pytest.raises(SampleError, match="the limit is 3,000,000; RATE_MAX_BYTES"):
        read_bytes(f"{chain}endless://a.png")
    assert sum(endless) <= 3_000_000 + (1 << 20)


@pytest.mark.parametrize("chain", ["", "simplecache::"])
def test_a_shard_of_unknown_length_is_cut_off_at_what_the_cache_holds(
    shaky: Shaky, endless: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chain: str
) -> None:
    monkeypatch.setenv("RATE_CACHE_BYTES", "3000000")
    with pytest.raises(ConfigError, match=r"more than 3,000,000 bytes.*RATE_CACHE_BYTES"):
        read_evaluation_set(f"{chain}endless://set.tar")
    assert sum(endless) <= 3_000_000 + (1 << 20)
    assert [path.suffix for path in (tmp_path / "cache" / "shards").iterdir()] == [".lock"]


def remote(manifest: Path, behaviour: dict[int, str], storage: Shaky) -> Path:
    """The set with some images on the storage."""
    lines = manifest.read_text().splitlines()
    for k, kind in behaviour.items():
        storage.pipe(f"/{kind}/{k}.png", (manifest.parent / f"{k}.png").read_bytes())
        lines[k + 1] = lines[k + 1].replace(f"{k}.png", f"shaky://{kind}/{k}.png")
    (manifest.parent / "remote.csv").write_text("\n".join(lines) + "\n")
    return manifest.parent / "remote.csv"


def test_what_comes_late_counts_and_what_never_comes_is_an_error(image_set, tmp_path: Path, shaky: Shaky) -> None:
    manifest = image_set(8)
    evaluate(job(manifest), FakeSpec(light), tmp_path / "local")
    data = remote(manifest, {1: "twice", 2: "never", 3: "slow", 4: "hang", 5: "plain"}, shaky)
    began = time.monotonic()
    evaluate(job(data), FakeSpec(light), tmp_path / "remote")
    assert time.monotonic() - began < 4 * SILENCE_S + 5, "four tries of a hanging image bound the run"
    expected = {(row["id"], row["head"]): row for row in stored(tmp_path / "local")}
    failed = {row["id"]: row["error"] for row in stored(tmp_path / "remote") if row["error"]}
    assert failed.keys() == {"s2", "s4"}
    assert "cannot be fetched (4 tries): ConnectionError: reset by peer" in failed["s2"]
    assert "TimeoutError: the storage was silent for 0.4 s; RATE_REMOTE_SECONDS allows more" in failed["s4"]
    for row in stored(tmp_path / "remote"):
        assert row["error"] or row == expected[row["id"], row["head"]]


def test_a_storage_that_is_gone_costs_the_waits_of_a_few_images_only(shaky: Shaky) -> None:
    for k in range(20):
        with pytest.raises(SampleError, match="cannot be fetched"):
            read_bytes(f"shaky://never/{k}.png")
    tries = sum(shaky.tries.values())
    assert tries == 4 * retries.IN_A_ROW + (20 - retries.IN_A_ROW)
    shaky.pipe("/plain/a.png", b"here")
    assert read_bytes("shaky://plain/a.png") == b"here"
    with pytest.raises(SampleError, match="4 tries"):
        read_bytes("shaky://never/again.png")


def test_what_is_not_there_is_not_tried_again(shaky: Shaky) -> None:
    with pytest.raises(SampleError, match="no such file"):
        read_bytes("shaky://plain/absent.png")
    assert shaky.tries == {"/plain/absent.png": 1}


def shard(storage: Shaky, kind: str) -> str:
    members = {"a.png": b"x" * 2000, "a.json": b'{"label": "dark", "boxes": [[0, 0, 2, 2]]}'}
    storage.pipe(f"/{kind}/set.tar", archive(members))
    return f"shaky://{kind}/set.tar"


def test_a_shard_may_take_its_time_as_long_as_it_grows(shaky: Shaky) -> None:
    assert len(read_evaluation_set(shard(shaky, "trickle"))) == 1


def test_a_shard_that_gets_stuck_is_given_up(shaky: Shaky) -> None:
    with pytest.raises(DataError, match=r"cannot be fetched \(4 tries\): TimeoutError: the storage was silent"):
        read_evaluation_set(shard(shaky, "stuck"))


def test_a_storage_that_sends_more_than_it_said_is_cut_off(shaky: Shaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_MAX_BYTES", "100")
    shaky.pipe("/plain/large.png", b"x" * 101)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.size", 0)
    with pytest.raises(SampleError, match="has 101 bytes, the limit is 100; RATE_MAX_BYTES changes it"):
        read_bytes("shaky://plain/large.png")


@pytest.mark.parametrize("name", ["RATE_MAX_BYTES", "RATE_REMOTE_SECONDS"])
@pytest.mark.parametrize("text", ["0", "-1", "many", "inf", "nan"])
def test_a_limit_that_is_none_is_refused(shaky: Shaky, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=f"{name} must be a positive .*number, got '{text}'"):
        read_bytes("shaky://plain/a.png")
