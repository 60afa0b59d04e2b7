"""Chunks follow remote shards: each is fetched by one host, and its samples are evaluated there."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from function_models import evaluate, job, light, open_spec
from object_store import ObjectStore, running
from stored_rows import stored
from test_changed_sets import ppm, tar_set

from rate.backends.base import Backend
from rate.backends.fake import FakeSpec
from rate.data.evaluation_set import read_evaluation_set
from rate.data.set_parts import Shard
from rate.data.storage import container, remote_cache
from rate.data.storage.location import container_of, read_bytes
from rate.engine.choose_backend import Say
from rate.engine.evaluate import evaluate as run
from rate.engine.workers.chunks import Chunk, Chunks
from rate.engine.workers.local import Processes
from rate.engine.workers.pool import Pool
from rate.errors import DataError, RunError, SetChanged
from rate.runs.merge import merge
from rate.types import Sample

SHARDS = 4
EACH = 12


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    monkeypatch.setattr(container, "_reads", Counter())
    with running(monkeypatch) as store:
        yield store


def samples(shards: int, each: int, root: str = "s3://b") -> list[Sample]:
    return [Sample(f"{k}-{n}", "x", f"tar:{n}+1:{root}/{k}.tar") for k in range(shards) for n in range(each)]


def divided(chunks: Chunks, hosts: list[str], pace: float = 0.01) -> list[tuple[str, Chunk]]:
    """Chunks with their hosts, which take turns."""
    taken: list[tuple[str, Chunk]] = []
    while not chunks.are_done:
        for host in hosts:
            if (chunk := chunks.next(host, hosts)) is not None:
                taken.append((host, chunk))
                chunks.finished(chunk, pace * len(chunk.samples))
    return taken


def test_a_remote_shard_goes_to_one_host() -> None:
    given = samples(5, 30)
    taken = divided(Chunks(given, len(given), 4), ["a", "b"])
    hosts: dict[str | None, set[str]] = {}
    for host, chunk in taken:
        for sample in chunk.samples:
            hosts.setdefault(container_of(sample.image), set()).add(host)
    assert sorted(map(len, hosts.values())) == [1] * 5
    assert set.union(*hosts.values()) == {"a", "b"}
    assert sorted(sample.id for _, chunk in taken for sample in chunk.samples) == sorted(one.id for one in given)


def test_local_shards_are_divided_as_before() -> None:
    given = samples(1, 40, root="/data")
    assert {host for host, _ in divided(Chunks(given, 40, 2), ["a", "b"])} == {"a", "b"}


def test_a_long_rest_is_shared_with_a_host_that_would_be_idle_and_a_short_one_is_not() -> None:
    given = samples(1, 200)
    assert {host for host, _ in divided(Chunks(given, 200, 2), ["a", "b"], pace=5.0)} == {"a", "b"}
    assert {host for host, _ in divided(Chunks(given, 200, 2), ["a", "b"], pace=0.01)} == {"a"}


def test_the_shard_of_a_host_that_is_gone_goes_to_another() -> None:
    given = samples(2, 20)
    chunks = Chunks(given, 40, 2)
    first = chunks.next("a", ["a", "b"])
    assert first is not None
    assert chunks.lost(first) is None
    taken = divided(chunks, ["b"])
    assert sorted(sample.id for _, chunk in taken for sample in chunk.samples) == sorted(one.id for one in given)


def tar_shards(store: ObjectStore, folder: Path) -> str:
    for k in range(SHARDS):
        content = Path(tar_set(folder / "a", EACH, 11 * k)).read_bytes()
        for n in range(EACH):  # ids are unique in a set, and as long as before
            content = content.replace(f'"id": "s{n}"'.encode(), f'"id":"{k}s{n}"'.encode())
        content = content.replace(b'"label": "dark"', b'"label":"light"') if k % 2 else content
        store.put(f"set/{k}.tar", content)
    return f"s3://pictures/set/{{0..{SHARDS - 1}}}.tar"


class Elsewhere:
    """Opens a backend in a process that is as on a machine of its own from its start: with its own name and cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], Callable[[Say], AbstractContextManager[Backend]]], tuple[Path]]:
        return arrived, (self.folder,)


def arrived(folder: Path) -> Callable[[Say], AbstractContextManager[Backend]]:
    name = f"node{os.getpid()}"
    os.environ["RATE_CACHE"] = str(folder / name)
    socket.gethostname = lambda: name
    return partial(open_spec, FakeSpec(light))


def test_every_shard_is_fetched_by_one_node(tmp_path: Path, store: ObjectStore) -> None:
    data = tar_shards(store, tmp_path)
    asked = job(data, runner="ray")
    with Pool(Processes(Elsewhere(tmp_path)), 2) as pool:
        while len(pool._flights) < 2:  # workers that are ready
            pool._next()
        run(asked, pool, tmp_path / "run")
    assert {k: store.count("GET", f"/set/{k}.tar") for k in range(SHARDS)} == dict.fromkeys(range(SHARDS), 1)
    nodes = [path for path in tmp_path.iterdir() if path.name.startswith("node")]
    assert len(nodes) == 2
    evaluate(job(data), FakeSpec(light), tmp_path / "alone")
    assert sorted(map(str, stored(tmp_path / "run"))) == sorted(map(str, stored(tmp_path / "alone")))


def test_every_shard_is_fetched_by_one_part_of_a_set(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, parts = tar_shards(store, tmp_path), [tmp_path / f"run{number}" for number in (1, 2, 3)]
    swaps = {"verdict": "swap", "fill": "pictures", "fills": 4}
    for number, part in enumerate(parts, 1):
        monkeypatch.setenv("RATE_CACHE", str(tmp_path / f"machine{number}"))
        remote_cache._known.clear()
        container._reads.clear()
        evaluate(job(data, shard=f"{number}/3", **swaps), FakeSpec(light), part)
    assert {k: store.count("GET", f"/set/{k}.tar") for k in range(SHARDS)} == dict.fromkeys(range(SHARDS), 1)
    assert sorted(len({row["id"] for row in stored(part)}) for part in parts) == [EACH, EACH, 2 * EACH]
    with pytest.raises(RunError, match="both hold sample"):
        merge([*parts, parts[0]], tmp_path / "twice")
    assert merge(parts[1:], tmp_path / "some").status == "partial"
    assert merge(parts, tmp_path / "all").status == "complete"
    evaluate(job(data, **swaps), FakeSpec(light), tmp_path / "alone")
    assert stored(tmp_path / "all") == stored(tmp_path / "alone")


def test_of_fewer_shards_than_parts_the_ids_decide(tmp_path: Path, store: ObjectStore) -> None:
    data = tar_shards(store, tmp_path)
    parts = [read_evaluation_set(data, shard=Shard(number, 5)) for number in range(1, 6)]
    assert sorted(sample.id for part in parts for sample in part) == sorted(one.id for one in read_evaluation_set(data))
    assert {len([*part]) == len(part) for part in parts} == {True}


def test_an_archive_whose_headers_alone_are_read_says_the_same(tmp_path: Path, store: ObjectStore) -> None:
    whole = Path(tar_set(tmp_path / "a", 300)).read_bytes()
    cut = store.put("cut.tar", whole[: len(whole) // 2 + 100])
    url = store.put("whole.tar", whole)
    near, far = (read_evaluation_set(url, elsewhere=elsewhere) for elsewhere in (False, True))
    assert (near.digest, [*near]) == (far.digest, [*far])
    said = []
    for elsewhere in (True, False):
        with pytest.raises(DataError, match="ends beyond the archive") as error:
            read_evaluation_set(cut, elsewhere=elsewhere)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_few_images_of_a_shard_are_read_without_fetching_it(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = store.put("set.tar", Path(tar_set(tmp_path / "a", 30)).read_bytes())
    read = list(read_evaluation_set(url))
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "elsewhere"))
    remote_cache._known.clear()
    store.asked.clear()
    for sample in read[: container.FEW_READS]:
        assert read_bytes(sample.image, sample.image_stamp) == ppm(7 * int(sample.id[1:]) % 256)
    assert (store.count("RANGE"), store.count("GET"), store.count("HEAD")) == (container.FEW_READS, 0, 0)
    for sample in read:
        assert read_bytes(sample.image, sample.image_stamp) == ppm(7 * int(sample.id[1:]) % 256)
    assert (store.count("RANGE"), store.count("GET")) == (container.FEW_READS, 1)


@pytest.mark.parametrize("removed", [False, True])
def test_an_image_that_is_read_without_its_shard_is_of_the_version_that_was_read_first(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    url = store.put("set.tar", Path(tar_set(tmp_path / "a", 3)).read_bytes())
    [first, *_] = read_evaluation_set(url)
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "elsewhere"))
    remote_cache._known.clear()
    store.put("set.tar", Path(tar_set(tmp_path / "b", 3, 100)).read_bytes())
    if removed:
        store.remove("set.tar")
    with pytest.raises(SetChanged, match=r"s3://pictures/set\.tar has changed"):
        read_bytes(first.image, first.image_stamp)
    assert store.count("RANGE") == 1
