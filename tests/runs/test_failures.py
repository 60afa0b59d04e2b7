"""Why samples failed: one reason for errors that differ in what they name alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from function_models import evaluate, job, light
from hypothesis import given
from hypothesis import strategies as st

from rate.backends.fake import FakeSpec
from rate.records import plain
from rate.runs.failures import FailureCounts, reason_of
from rate.runs.status import read_status

NAME = st.text(alphabet="abcXYZ019 _-.'(", min_size=1, max_size=12)


@given(folder=NAME, name=NAME, other=NAME, size=st.integers(1, 10**6))
def test_the_file_and_its_numbers_make_no_reason_of_their_own(folder: str, name: str, other: str, size: int) -> None:
    text = "/{}/{}.png: has {:,} bytes, the limit is 20,000,000; RATE_MAX_BYTES changes it"
    one = reason_of("s1", text.format(folder, name, size))
    assert one == reason_of("s2", text.format(other, folder, 7))
    assert "has N bytes" in one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s3: has neither boxes nor a mask", "x: has neither boxes nor a mask"),
        ("label 'ant' is not a class of head 'a'", "label \"b's\" is not a class of head 'a'"),
        ("s3://a/b.png: cannot be fetched: 404", "s3://a/c d.png: cannot be fetched: 503"),
        ("/a/b.tar::x.png: cannot be decoded: E: at 0x7f3a", "/a/c.tar::y.png: cannot be decoded: E: at 0x91"),
        ("cannot open C:\\a\\b.png", "cannot open D:\\c.png"),
    ],
)
def test_errors_of_one_kind_are_one_reason(one: str, other: str) -> None:
    assert reason_of("s3", one) == reason_of("x", other)


def test_other_reasons_stay_apart() -> None:
    texts = ["/a.png: is not an image", "/a.png: no such file", "a: has no mask", "the logits are not finite (NaN)"]
    assert len({reason_of("a", text) for text in texts}) == len(texts)


@given(
    st.permutations([("a", "/x: gone"), ("b", "/y: gone"), ("c", "cut"), ("d", "torn"), ("e", "bent"), ("f", "cut")])
)
def test_the_three_commonest_whatever_the_order(errors: list[tuple[str, str]]) -> None:
    counts = FailureCounts()
    for identifier, error in errors:
        counts.take(identifier, error)
    found = counts.commonest()
    assert [(one.count, one.example) for one in found] == [(2, "a"), (2, "c"), (1, "e")]
    assert [one.message for one in found] == ["/x: gone", "cut", "bent"]


def test_a_run_carries_why_its_samples_failed(image_set, tmp_path: Path) -> None:
    manifest = image_set(6)
    for name in ("0.png", "1.png"):
        (manifest.parent / name).write_bytes(b"no image")
    (manifest.parent / "2.png").unlink()
    summary = evaluate(job(manifest), FakeSpec(light), tmp_path / "run")
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    for head, own in summary.heads.items():
        assert [(one.count, one.example) for one in own.failures] == [(2, "s0"), (1, "s2")]
        assert written["heads"][head]["failures"] == [plain(one) for one in own.failures]
    assert read_status(tmp_path / "run").failures == summary.heads["a"].failures
