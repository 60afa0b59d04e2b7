"""A signed URL is its object: signed again, it is the same set, and no signature is stored or shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from function_models import evaluate, job, light
from object_store import BUCKET, ObjectStore
from stored_rows import stored
from test_changed_sets import interrupted, ppm, tar_set

from rate.backends.fake import FakeSpec
from rate.data.evaluation_set import read_evaluation_set
from rate.data.storage import remote_cache
from rate.errors import RateError

SIGNED = re.compile(r"Signature|Credential=|AWSAccessKeyId|X-Amz")


@cache
def client(address: str) -> Any:
    return botocore.session.get_session().create_client("s3", endpoint_url=address)


def signed(store: ObjectStore, key: str, seconds: int) -> str:
    url: str = client(store.url).generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": key}, seconds)
    return url


def signed_set(store: ObjectStore, manifest: Path, seconds: int) -> Path:
    remote = store.put_set(manifest)
    text = re.sub(r"s3://pictures/([^,]*)", lambda match: signed(store, match[1], seconds), remote.read_text())
    remote.write_text(text)
    return remote


def written(*folders: Path) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes().decode("latin-1")


def test_images_that_are_signed_again_are_the_same_set(image_set, tmp_path: Path, store: ObjectStore) -> None:
    manifest = image_set(12)
    remote = signed_set(store, manifest, 600)
    lines = remote.read_text().splitlines()
    remote.write_text("\n".join(line.partition(",")[2] for line in lines) + "\n")  # the id is the image
    first = read_evaluation_set(str(remote))
    interrupted(job(remote), tmp_path / "run", after=5)
    again = signed_set(store, manifest, 900).read_text().splitlines()
    remote.write_text("\n".join(line.partition(",")[2] for line in again) + "\n")
    assert again != lines
    assert read_evaluation_set(str(remote)).digest == first.digest
    assert evaluate(job(remote), FakeSpec(light), tmp_path / "run").status == "complete"
    assert {row["id"] for row in stored(tmp_path / "run")} == {f"{store.url}/pictures/set/{k}.png" for k in range(12)}
    assert store.count("HEAD") == 0, "a signature is of one method"
    for path, text in written(tmp_path / "run"):
        assert not SIGNED.search(text), path


def test_a_signed_shard_that_is_signed_again_is_the_same_set(tmp_path: Path, store: ObjectStore) -> None:
    store.put("set.tar", Path(tar_set(tmp_path / "a", 12)).read_bytes())
    url = signed(store, "set.tar", 600)
    first = read_evaluation_set(url)
    interrupted(job(url), tmp_path / "run", after=5)
    remote_cache._known.clear()
    url = signed(store, "set.tar", 900)
    assert read_evaluation_set(url).digest == first.digest
    assert evaluate(job(url), FakeSpec(light), tmp_path / "run").status == "complete"
    assert store.count("GET") <= 7, "the copy of the first reading serves all"
    for path, text in written(tmp_path / "run", tmp_path / "cache"):
        assert not SIGNED.search(text), path


def test_a_signed_image_that_fails_is_told_without_its_signature(image_set, tmp_path: Path, store: ObjectStore) -> None:
    remote = signed_set(store, image_set(3), 600)
    store.put("set/1.png", b"no image")
    store.remove("set/2.png")
    evaluate(job(remote, max_errors=3), FakeSpec(light), tmp_path / "run")
    errors = [row["error"] for row in stored(tmp_path / "run") if row["error"]]
    assert len(errors) == 4
    assert all("pictures/set/" in error and not SIGNED.search(error) for error in errors)


def test_a_signed_shard_that_is_gone_is_told_without_its_signature(store: ObjectStore) -> None:
    with pytest.raises(RateError, match=r"pictures/none\.tar") as found:
        read_evaluation_set(signed(store, "none.tar", 600))
    assert not SIGNED.search(str(found.value))


def test_a_signed_shard_that_is_replaced_is_another_set(tmp_path: Path, store: ObjectStore) -> None:
    store.put("set.tar", Path(tar_set(tmp_path / "a", 3)).read_bytes())
    first = read_evaluation_set(signed(store, "set.tar", 600))
    store.put("set.tar", Path(tar_set(tmp_path / "b", 3, 100)).read_bytes())
    remote_cache._known.clear()
    assert read_evaluation_set(signed(store, "set.tar", 700)).digest != first.digest
    assert ppm(0) in (tmp_path / "a").read_bytes()
