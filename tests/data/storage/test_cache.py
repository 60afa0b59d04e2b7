"""The folder of copies keeps within its limit: what was used longest ago goes first."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from rate.data.storage.cache import IN_USE_S, use

HOUR = int(IN_USE_S)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path))
    monkeypatch.setenv("RATE_CACHE_BYTES", "30000")
    return tmp_path


def file(cache: Path, kind: str, name: str, hours: int) -> Path:
    """A copy of 10,000 bytes that was used so long ago."""
    path = cache / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10_000)
    os.utime(path, (time.time() - hours * HOUR, 0))
    return path


def folder(cache: Path, kind: str, name: str, hours: int) -> Path:
    file(cache, f"{kind}/{name}", "content", hours)
    os.utime(cache / kind / name, (0, time.time() - hours * HOUR))
    return cache / kind / name


def test_copies_of_every_kind_go_in_the_order_of_their_last_use(cache: Path) -> None:
    run, artifact = folder(cache, "runs", "0" * 16, 5), folder(cache, "artifacts", "1" * 40, 3)
    shard, headers, manifest = (
        file(cache, kind, name, hours)
        for kind, name, hours in [
            ("shards", "2" * 40, 2),
            ("headers", "3" * 40, 4),
            ("manifests", "4" * 40 + ".csv", 6),
        ]
    )
    others = [file(cache, "shards", "mine.tar", 9), folder(cache, "runs", "mine", 9)]
    new = file(cache, "shards", "5" * 40, 9)
    use(new)
    assert {path for path in (run, artifact, shard, headers, manifest, new) if path.exists()} == {artifact, shard, new}
    assert all(path.exists() for path in others)


def test_what_is_in_use_stays(cache: Path) -> None:
    written, recent, old = (folder(cache, "runs", str(k) * 16, hours) for k, hours in enumerate((9, 0, 8)))
    with (written / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(written, (0, time.time() - 9 * HOUR))
        use(file(cache, "shards", "5" * 40, 9))
    assert [path.exists() for path in (written, recent, old)] == [True, True, False]


def test_a_file_of_two_copies_counts_once(cache: Path) -> None:
    shard, artifact = file(cache, "shards", "2" * 40, 7), folder(cache, "artifacts", "1" * 40, 8)
    (artifact / "content").unlink()
    os.link(shard, artifact / "content")
    os.utime(artifact, (0, time.time() - 8 * HOUR))
    other, new = file(cache, "shards", "3" * 40, 6), file(cache, "shards", "5" * 40, 9)
    use(new)
    assert all(path.exists() for path in (shard, artifact, other, new))
    another = file(cache, "shards", "6" * 40, 9)
    use(another)
    assert [path.exists() for path in (artifact, shard, other, new, another)] == [False, False, True, True, True]
