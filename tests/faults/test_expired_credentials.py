"""Credentials that expire during a run: reads wait for others, then the run ends, and goes on with the same command."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest
from function_models import evaluate, job, light
from object_store import ObjectStore
from stored_rows import stored
from test_changed_sets import tar_set
from test_signed_urls import signed_set

from rate.backends.fake import FakeSpec
from rate.data.storage import retries
from rate.data.storage.location import read_bytes
from rate.engine.evaluate import Observe, Progress
from rate.errors import EXIT_FAILED, CredentialsError, SampleError
from rate.runs.run_document import read_run


@pytest.fixture
def store(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("RATE_ACCESS_SECONDS", "0.6")
    for name in ("reached", "waiting"):
        monkeypatch.setattr(retries._Storage, name, False)
    return store


def expiring(store: ObjectStore) -> Observe:
    def observe(now: Progress) -> None:
        store.key = "renewed"

    return observe


def test_a_run_ends_without_failed_samples_and_goes_on(image_set, tmp_path: Path, store: ObjectStore) -> None:
    manifest = image_set(60)
    remote = store.put_set(manifest)
    asked = job(remote, io=2, batch=4)
    with pytest.raises(
        CredentialsError, match=r"credentials \(ExpiredToken\) for 0\.6 s.*RATE_ACCESS_SECONDS"
    ) as found:
        evaluate(asked, FakeSpec(light), tmp_path / "run", expiring(store))
    assert found.value.exit_code == EXIT_FAILED
    assert read_run(tmp_path / "run").status == "failed"
    done = stored(tmp_path / "run")
    assert 0 < len(done) < 120
    assert not any(row["error"] for row in done)
    store.key = ""
    assert evaluate(job(remote), FakeSpec(light), tmp_path / "run").status == "complete"
    evaluate(job(manifest), FakeSpec(light), tmp_path / "local")
    assert [row | {"version": None} for row in stored(tmp_path / "run")] == stored(tmp_path / "local")


def test_credentials_that_are_renewed_in_time_are_found(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RATE_ACCESS_SECONDS", "20")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text("[default]\naws_access_key_id = first\naws_secret_access_key = x\n")
    url = store.put("a.png", b"bytes")
    assert read_bytes(url) == b"bytes"
    store.key = "second"

    asked = len(store.asked)

    def renew() -> None:
        while len(store.asked) == asked:
            time.sleep(0.05)
        file.write_text(file.read_text().replace("first", "second"))

    renewal = threading.Thread(target=renew, daemon=True)
    renewal.start()
    with caplog.at_level(logging.WARNING, logger="rate"):
        assert read_bytes(url) == b"bytes"
    renewal.join()
    assert "the storage refuses the credentials (ExpiredToken); others are looked for, for 20 s" in caplog.text


def test_signed_urls_that_have_expired_end_the_run(image_set, tmp_path: Path, store: ObjectStore) -> None:
    remote = signed_set(store, image_set(60), 600)

    def observe(now: Progress) -> None:
        store.refuse = lambda method, path: ("403 Forbidden", "AccessDenied")

    with pytest.raises(CredentialsError, match=r"pictures/set/.*HTTP 403.*sign the URLs again"):
        evaluate(job(remote, io=2, batch=4), FakeSpec(light), tmp_path / "run", observe)
    assert not any(row["error"] for row in stored(tmp_path / "run"))


def test_credentials_that_never_worked_are_not_waited_for(image_set, tmp_path: Path, store: ObjectStore) -> None:
    remote = store.put_set(image_set(3))
    store.key = "other"
    began = time.monotonic()
    with pytest.raises(CredentialsError, match=r"refuses the credentials \(ExpiredToken\)\. What"):
        job(remote)
    url = store.put("set.tar", Path(tar_set(tmp_path / "a", 3)).read_bytes())
    with pytest.raises(CredentialsError, match=r"pictures/set\.tar: the storage refuses the credentials \(400\)"):
        job(url)
    assert time.monotonic() - began < 5


def test_one_object_that_may_not_be_read_is_an_error_of_its_sample(store: ObjectStore) -> None:
    url = store.put("a.png", b"bytes")
    store.refuse = lambda method, path: ("403 Forbidden", "AccessDenied")
    with pytest.raises(SampleError, match=r"a\.png: cannot be read: PermissionError"):
        read_bytes(url)
