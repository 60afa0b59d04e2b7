"""A set on an S3 storage is the set that was first read: what moves is refused by name, before or while it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from function_models import evaluate, job, light
from object_store import ObjectStore
from stored_rows import stored
from test_changed_sets import interrupted, parquet_set, ppm, tar_set

from rate.backends.fake import FakeSpec
from rate.data import evaluation_set
from rate.data.evaluation_set import read_evaluation_set
from rate.data.open_data import open_blocks
from rate.data.storage import listing, remote_cache
from rate.data.storage.location import read_bytes
from rate.errors import EXIT_USAGE, RunError, SampleError, SetChanged
from rate.runs.run_document import read_run


def test_rows_are_those_of_local_images_at_one_request_each(image_set, tmp_path: Path, store: ObjectStore) -> None:
    manifest = image_set(30)
    remote = store.put_set(manifest)
    store.asked.clear()
    evaluate(job(manifest), FakeSpec(light), tmp_path / "local")
    evaluate(job(remote), FakeSpec(light), tmp_path / "remote")
    local, far = stored(tmp_path / "local"), stored(tmp_path / "remote")
    assert [row | {"version": None} for row in far] == local
    assert all(row["version"] for row in far)
    assert store.count("GET", "/set/") == 30
    assert store.count("HEAD") == 0
    assert len(store.asked) == 31, "one listing tells all versions"


def test_other_bytes_are_another_set(image_set, store: ObjectStore) -> None:
    remote = store.put_set(image_set(6))
    first = read_evaluation_set(str(remote))
    store.put("set/5.png", ppm(9))
    second = read_evaluation_set(str(remote))
    assert first.digest != second.digest
    store.put("set/5.png", (remote.parent / "5.png").read_bytes())
    assert read_evaluation_set(str(remote)).digest == first.digest


def test_an_image_that_moves_before_it_is_read_ends_the_run(image_set, tmp_path: Path, store: ObjectStore) -> None:
    remote = store.put_set(image_set(12))
    asked = job(remote, workers=2)
    old = (remote.parent / "11.png").read_bytes()
    store.put("set/11.png", ppm(9))
    with pytest.raises(SetChanged, match=r"s3://pictures/set/11\.png has changed.*in the version.*and now") as found:
        evaluate(asked, FakeSpec(light), tmp_path / "run")
    assert found.value.exit_code == EXIT_USAGE
    assert read_run(tmp_path / "run").status == "failed"
    store.put("set/11.png", old)
    assert evaluate(job(remote), FakeSpec(light), tmp_path / "run").status == "complete"


def test_an_image_that_is_gone_ends_the_run(image_set, tmp_path: Path, store: ObjectStore) -> None:
    remote = store.put_set(image_set(8))
    asked = job(remote)
    store.remove("set/7.png")
    with pytest.raises(SetChanged, match=r"s3://pictures/set/7\.png has changed.*no file is there"):
        evaluate(asked, FakeSpec(light), tmp_path / "run")


def test_a_set_that_moved_while_the_run_rested_is_refused_by_name(
    image_set, tmp_path: Path, store: ObjectStore
) -> None:
    remote = store.put_set(image_set(30))
    interrupted(job(remote), tmp_path / "run", after=9)
    done = stored(tmp_path / "run")[0]["id"]
    store.put(f"set/{done[1:]}.png", ppm(9))
    with pytest.raises(
        RunError, match=rf"1 of the .* stored samples.*'{done}': s3://pictures/set/{done[1:]}\.png was in"
    ):
        evaluate(job(remote), FakeSpec(light), tmp_path / "run")


@pytest.mark.parametrize(("written", "workers"), [(tar_set, 2), (parquet_set, 1)])
def test_a_shard_that_moves_ends_the_run(tmp_path: Path, store: ObjectStore, written, workers, monkeypatch) -> None:
    name = f"set.{'tar' if written is tar_set else 'parquet'}"
    url = store.put(name, Path(written(tmp_path / "a", 20)).read_bytes())
    other = Path(written(tmp_path / "b", 20, 100)).read_bytes()
    asked = job(url, workers=workers)
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "elsewhere"))  # what reads the images is on another machine
    remote_cache._known.clear()
    store.put(name, other)
    with pytest.raises(SetChanged, match=rf"s3://pictures/{name} has changed"):
        evaluate(asked, FakeSpec(light), tmp_path / "run")
    assert not stored(tmp_path / "run")


def test_a_shard_that_moved_while_the_run_rested_is_refused(tmp_path: Path, store: ObjectStore) -> None:
    url = store.put("set.tar", Path(tar_set(tmp_path / "a", 30)).read_bytes())
    interrupted(job(url), tmp_path / "run", after=9)
    store.put("set.tar", Path(tar_set(tmp_path / "b", 30, 100)).read_bytes())
    remote_cache._known.clear()
    with pytest.raises(RunError, match=r"are of other objects.*s3://pictures/set\.tar was in the version"):
        evaluate(job(url), FakeSpec(light), tmp_path / "run")


def test_a_shard_that_is_replaced_while_it_is_fetched_is_refused(tmp_path: Path, store: ObjectStore) -> None:
    url = store.put("set.tar", Path(tar_set(tmp_path / "a", 3)).read_bytes())
    other = Path(tar_set(tmp_path / "b", 3, 100)).read_bytes()
    replaced: list[str] = []

    def refuse(method: str, path: str) -> None:
        if method == "GET" and path.endswith("set.tar") and not replaced:
            replaced.append(path)
            store.put("set.tar", other)

    store.refuse = refuse
    with pytest.raises(SetChanged, match=r"set\.tar was replaced while it was fetched"):
        read_evaluation_set(url)
    assert len(read_evaluation_set(url)) == 3


def test_a_listing_takes_few_requests_wherever_the_objects_lie(store: ObjectStore) -> None:
    keys = [f"x/{k:04d}.png" for k in range(300)]
    for key in keys:
        store.put(key, key.encode())
    asked = [f"s3://pictures/{key}" for key in (keys[0], keys[150], keys[299], "x/0007.pn", "x/9.png", "y.png")]
    store.asked.clear()
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(listing, "PAGE", 20)
        patch.setattr(listing, "_FEWEST", 2)
        stamps = listing.Listing().stamps(asked)
    assert set(stamps) == set(asked[:3])
    assert stamps[asked[1]].size == 10
    assert len(store.asked) <= 6
    store.asked.clear()
    every = listing.Listing().stamps(f"s3://pictures/{key}" for key in keys)
    assert len(every) == 300
    assert len(store.asked) == 1


def test_a_bucket_that_may_not_be_listed_is_read_without_versions(
    image_set, tmp_path: Path, store: ObjectStore
) -> None:
    remote = store.put_set(image_set(12))
    store.refuse = lambda method, path: ("403 Forbidden", "AccessDenied") if path.rstrip("/") == "/pictures" else None
    samples = read_evaluation_set(str(remote))
    assert [text for text in samples.notices if "the images of 12 of 12 samples" in text]
    assert evaluate(job(remote), FakeSpec(light), tmp_path / "run").status == "complete"
    assert {row["version"] for row in stored(tmp_path / "run")} == {None}


def test_an_image_that_is_missing_from_the_start_is_an_error_of_its_sample(image_set, store: ObjectStore) -> None:
    remote = store.put_set(image_set(3))
    store.remove("set/1.png")
    samples = list(read_evaluation_set(str(remote)))
    assert [sample.image_stamp is None for sample in samples] == [False, True, False]
    with pytest.raises(SampleError, match=r"1\.png: no such file"):
        read_bytes(samples[1].image, samples[1].image_stamp)


def test_blocks_of_a_set_share_what_was_listed(image_set, store: ObjectStore, monkeypatch) -> None:
    remote = store.put_set(image_set(20))
    monkeypatch.setattr("rate.data.formats.text_pieces.BLOCK_BYTES", 99)
    monkeypatch.setattr("rate.data.blocks.MANY_ROWS", 3)
    assert len(list(open_blocks(str(remote)))) > 4
    store.asked.clear()
    first = read_evaluation_set(str(remote))
    assert len(store.asked) < 7
    assert {sample.image_stamp.version for sample in first} == {sample.version for sample in first}
    assert isinstance(first, evaluation_set.EvaluationSet)
