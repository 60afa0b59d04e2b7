"""Sets on a web server and on other storages of fsspec: fixed when they are first read, and read in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from function_models import evaluate, job, light
from stored_rows import stored
from test_changed_sets import interrupted, ppm, tar_set
from web_store import WebStore, serving

from rate.backends.fake import FakeSpec
from rate.data.evaluation_set import read_evaluation_set
from rate.data.storage import container, ranges, remote_cache
from rate.data.storage.location import read_bytes
from rate.errors import RunError, SampleError, SetChanged


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    monkeypatch.setattr(ranges, "_without", set())
    container._reads.clear()


@pytest.fixture
def web() -> Iterator[WebStore]:
    with serving() as store:
        yield store


@pytest.mark.parametrize("version", ["ETag", "Last-Modified"])
def test_images_of_the_web_take_a_request_each_for_version_and_bytes(
    image_set, tmp_path: Path, web: WebStore, version: str
) -> None:
    web.version, manifest = version, image_set(20)
    evaluate(job(manifest), FakeSpec(light), tmp_path / "local")
    evaluate(job(web.put_set(manifest)), FakeSpec(light), tmp_path / "remote")
    local, far = stored(tmp_path / "local"), stored(tmp_path / "remote")
    assert [row | {"version": None} for row in far] == local
    assert all(row["version"] for row in far)
    assert (web.count("GET"), web.count("RANGE")) == (20, 24), "the first four are asked for twice"


def test_an_image_of_the_web_that_moves_ends_the_run(image_set, tmp_path: Path, web: WebStore) -> None:
    remote = web.put_set(image_set(12))
    asked, old = job(remote), web.files["/set/11.png"]
    web.put("set/11.png", ppm(9))
    with pytest.raises(SetChanged, match=r"/set/11\.png has changed.*in the version.*and now"):
        evaluate(asked, FakeSpec(light), tmp_path / "run")
    web.remove("set/11.png")
    with pytest.raises(SetChanged, match=r"/set/11\.png has changed.*no file is there"):
        evaluate(asked, FakeSpec(light), tmp_path / "run")
    web.put("set/11.png", old)
    assert evaluate(job(remote), FakeSpec(light), tmp_path / "run").status == "complete"


def test_a_set_of_the_web_that_moved_while_the_run_rested_is_refused(image_set, tmp_path: Path, web: WebStore) -> None:
    remote = web.put_set(image_set(30))
    interrupted(job(remote), tmp_path / "run", after=9)
    done = stored(tmp_path / "run")[0]["id"]
    web.put(f"set/{done[1:]}.png", ppm(9))
    with pytest.raises(RunError, match=rf"1 of the .* stored samples.*'{done}'"):
        evaluate(job(remote), FakeSpec(light), tmp_path / "run")


@pytest.mark.parametrize(("version", "changes"), [("", False), ("ETag", True)])
def test_a_web_server_without_lasting_versions_is_said(image_set, web: WebStore, version: str, changes: bool) -> None:
    web.version, web.changes = version, changes
    read = read_evaluation_set(str(web.put_set(image_set(12))))
    assert [text for text in read.notices if "the images of 12 of 12 samples" in text]
    assert len(web.asked) == 8
    [sample, *_] = read
    assert read_bytes(sample.image, sample.image_stamp)


def test_an_image_that_the_web_lacks_or_cannot_give_now_is_an_error_of_its_sample(
    image_set, web: WebStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE_REMOTE_SECONDS", "0.5")
    remote = web.put_set(image_set(8))
    web.remove("set/6.png")
    web.failing.add("/set/7.png")
    samples = list(read_evaluation_set(str(remote)))
    assert [sample.image_stamp is None for sample in samples] == [False] * 6 + [True] * 2
    with pytest.raises(SampleError, match=r"6\.png: no such file"):
        read_bytes(samples[6].image, samples[6].image_stamp)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_of_archives_on_the_web_the_headers_are_read_where_ranges_are(
    tmp_path: Path, web: WebStore, has_ranges: bool
) -> None:
    web.has_ranges = has_ranges
    url = web.put("set.tar", Path(tar_set(tmp_path / "a", 30)).read_bytes())
    read = read_evaluation_set(url, elsewhere=True)
    samples = list(read)
    assert [sample.id for sample in samples] == [f"s{number}" for number in range(30)]
    assert web.count("GET", "set.tar") == (0 if has_ranges else 1)
    assert web.count("RANGE") == (web.count("RANGE") if has_ranges else 1) > 0
    web.asked.clear()
    for sample in samples[: container.FEW_READS]:
        assert read_bytes(sample.image, sample.image_stamp) == ppm(7 * int(sample.id[1:]) % 256)
    assert web.count("RANGE") == (container.FEW_READS if has_ranges else 0)
    assert read_evaluation_set(url).digest == read.digest
    assert web.count("GET", "set.tar") == int(has_ranges)
    web.put("set.tar", Path(tar_set(tmp_path / "b", 30, 100)).read_bytes())
    remote_cache._known.clear()
    with pytest.raises(SetChanged, match=r"set\.tar has changed"):
        [read_bytes(sample.image, sample.image_stamp) for sample in samples]


class Versioned(MemoryFileSystem):
    """A storage with versions, as those of Google and Azure have them."""

    protocol = "versioned"
    store: ClassVar[dict[str, Any]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("versioned://", "memory://"))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        found = super().info(path, **options)
        return found | {"etag": hashlib.md5(self.store[found["name"]].getvalue()).hexdigest()}


@pytest.fixture
def other() -> Iterator[Versioned]:
    fsspec.register_implementation("versioned", Versioned, clobber=True)
    yield fsspec.filesystem("versioned")
    Versioned.store.clear()


def test_other_storages_with_versions_are_fixed_and_read_in_parts(image_set, tmp_path: Path, other: Versioned) -> None:
    other.pipe_file("set.tar", Path(tar_set(tmp_path / "a", 40)).read_bytes())
    samples = list(read_evaluation_set("versioned://set.tar", elsewhere=True))
    assert read_bytes(samples[3].image, samples[3].image_stamp) == ppm(21)
    assert not (tmp_path / "cache" / "shards").exists(), "nothing was fetched whole"
    other.pipe_file("set.tar", Path(tar_set(tmp_path / "b", 40, 100)).read_bytes())
    with pytest.raises(SetChanged, match=r"set\.tar has changed"):
        read_bytes(samples[4].image, samples[4].image_stamp)
    manifest = image_set(6)
    text = manifest.read_text()
    for number in range(6):
        other.pipe_file(f"{number}.png", (manifest.parent / f"{number}.png").read_bytes())
        text = text.replace(f",{number}.png", f",versioned://{number}.png")
    manifest.write_text(text)
    first, *_, last = read_evaluation_set(str(manifest))
    assert read_bytes(first.image, first.image_stamp) == (manifest.parent / "0.png").read_bytes()
    other.pipe_file("5.png", ppm(9))
    with pytest.raises(SetChanged, match=r"5\.png has changed"):
        read_bytes(last.image, last.image_stamp)
