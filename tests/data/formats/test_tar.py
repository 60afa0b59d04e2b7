"""Tar shards: what is a sample, what is one problem, and that no archive can do harm."""

from __future__ import annotations

import os
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_files import archive, header, picture, sample, write_shards

from rate.data.evaluation_set import read_evaluation_set
from rate.data.manifest import ParsedRow
from rate.data.open_data import open_rows
from rate.data.storage import container, remote_cache
from rate.data.storage.location import Folder, read_bytes
from rate.errors import ConfigError, DataError, SampleError

END = bytes(1024)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RATE_REMOTE_SECONDS", "3")  # and so do the waits between tries get shorter
    monkeypatch.setattr(remote_cache, "_known", {})
    return tmp_path / "cache"


def rows(folder: Path, data: bytes) -> list[ParsedRow]:
    (folder / "s.tar").write_bytes(data)
    return list(open_rows(str(folder / "s.tar")))


def messages(parsed: list[ParsedRow]) -> list[str]:
    return [problem.message for row in parsed for problem in row.problems]


def ids(parsed: list[ParsedRow]) -> list[str]:
    return [row.sample.id for row in parsed if row.sample is not None]


# -------------------------------------------------------------------------------------------------------- accepted


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_of_every_tar_format_with_long_and_foreign_names(tmp_path, form):
    long = "a" * 90 if form == tarfile.USTAR_FORMAT else "long/" * 40 + "name"
    files = {**sample("dir/ü", group="g", cluster="c", split="test"), **sample(long, "cat")}
    first, second = rows(tmp_path, archive(files, form))
    assert (first.problems, second.problems) == ((), ())
    assert (first.sample.id, first.sample.label, first.split) == ("dir/ü", "dog", "test")
    assert (first.sample.group, first.sample.cluster) == ("g", "c")
    assert (second.sample.id, second.sample.boxes, second.sample.row) == (long, ((0.0, 0.0, 2.0, 2.0),), 2)
    assert read_bytes(first.sample.image) == "image dir/ü".encode()
    assert read_bytes(second.sample.image) == f"image {long}".encode()


def test_the_places_are_those_that_tarfile_finds(tmp_path):
    files = {**sample("a"), "b.cls": b"cat\n", "b.mask.png": b"mask", "b.PNG": b"picture"}
    parsed = rows(tmp_path, archive(files))
    with tarfile.open(tmp_path / "s.tar") as tar:
        at = {member.name: f"tar:{member.offset_data}+{member.size}:{tmp_path / 's.tar'}" for member in tar}
    assert [(row.sample.image, row.sample.mask) for row in parsed] == [
        (at["a.jpg"], None),
        (at["b.PNG"], at["b.mask.png"]),
    ]
    assert parsed[1].sample.label == "cat"
    assert read_bytes(parsed[1].sample.mask) == b"mask"


def test_the_id_is_the_key_or_what_json_says(tmp_path):
    files = {**sample("./dir/a", id="other"), **sample("dir/b"), **sample("dir.x/c", id=7)}
    assert ids(rows(tmp_path, archive(files))) == ["other", "dir/b", "7"]


def test_what_is_no_sample_is_passed_by(tmp_path):
    files = {"README.md": b"x", "._a.jpg": b"x", "dir/.hidden.json": b"x", **sample("a"), "a.txt": b"a dog"}
    assert ids(rows(tmp_path, archive(files))) == ["a"]


def test_rows_count_through_all_shards(tmp_path):
    pattern = write_shards(tmp_path, sample("a"), {**sample("b"), **sample("c")})
    assert [(row.row, row.sample.id) for row in open_rows(pattern)] == [(1, "a"), (2, "b"), (3, "c")]


def test_no_image_is_read_by_the_pass(tmp_path, monkeypatch):
    read: list[int] = []
    honest = container.Container.read
    monkeypatch.setattr(
        container.Container, "read", lambda self, offset, size: read.append(size) or honest(self, offset, size)
    )
    files = {"a.jpg": bytes(300_000), "a.cls": b"dog", "a.mask.png": bytes(300_000)}
    assert ids(rows(tmp_path, archive(files))) == ["a"]
    assert sum(read) < 10 * 512


# --------------------------------------------------------------------------------------------------- one problem each


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"a.jpg": b"x", "a.cls": b"3"}, "holds the number 3, not the name of a class"),
        ({"a.jpg": b"x", "a.json": b'{"label": 3, "boxes": []}'}, "must be the name of a class"),
        ({"a.jpg": b"x", "a.json": b'{"boxes": []}'}, "is missing"),
        ({"a.jpg": b"x", "a.json": b"{"}, "is not JSON"),
        ({"a.jpg": b"x", "a.json": b"[" * 100_000}, "is not JSON"),
        ({"a.jpg": b"x", "a.json": b"[]"}, "must be an object"),
        ({"a.jpg": b"x", "a.json": b"\xff"}, "not text in UTF-8"),
        ({"a.jpg": b"x", "a.cls": b"cat", "a.json": b'{"label": "dog"}'}, "says 'cat', and the .json says 'dog'"),
        ({"a.jpg": b"x", "a.cls": b"dog"}, "needs one region, got none"),
        ({**sample("a"), "a.mask.png": b"x"}, "needs one region, got mask and boxes"),
        ({"a.json": b"{}"}, "has no image beside it"),
        ({"a.b.jpg": b"x"}, "a key ends at the first dot, and it has ['b.jpg']"),
        ({**sample("a"), "a.png": b"x"}, "comes after 'a.jpg'; a sample has one image"),
        ({**sample("a"), "a.cls": b"d" * ((1 << 20) + 1)}, "1,048,577 bytes, the limit is 1,048,576"),
        (sample("../a"), "leaves the archive"),
        (sample("/etc/a"), "leaves the archive"),
        (sample("a/../../b"), "leaves the archive"),
        (sample("a\\b"), "leaves the archive"),
    ],
)
def test_a_wrong_sample_is_a_problem_and_the_next_is_read(tmp_path, files, what):
    parsed = rows(tmp_path, archive({**files, **sample("good")}))
    assert ids(parsed) == ["good"]
    assert len(parsed) == 2
    assert what in messages(parsed)[0]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_never_followed(tmp_path, kind):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    link = header("a.jpg", kind=kind, linkname=str(tmp_path / "secret.jpg"))
    parsed = rows(tmp_path, link + archive(sample("good")))
    assert ids(parsed) == ["good"]
    assert "archive the file itself" in messages(parsed)[0]


def test_too_large_a_member(tmp_path, monkeypatch):
    monkeypatch.setenv("RATE_MAX_BYTES", "8")
    parsed = rows(tmp_path, archive({**sample("ten"), **sample("b")}))
    assert ids(parsed) == ["b"]
    assert "'ten.jpg' has 9 bytes, the limit is 8" in messages(parsed)[0]


def test_members_of_a_sample_that_do_not_follow_each_other(tmp_path):
    first, second = sample("a"), sample("b")
    files = {"a.jpg": first["a.jpg"], **second, "a.json": first["a.json"]}
    parsed = rows(tmp_path, archive(files))
    assert ids(parsed) == ["b"]
    assert len(parsed) == 3
    assert "follow each other" in messages(parsed)[-1]


def test_an_id_that_came_before(tmp_path):
    pattern = write_shards(tmp_path, sample("a"), {**sample("a"), **sample("b")})
    with pytest.raises(DataError, match=r"row 2: id 'a' is already the id of row 1"):
        read_evaluation_set(pattern)


def test_names_that_are_no_text(tmp_path):
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    files = {f"{name}.jpg": b"x", f"{name}.mask.png": b"x", f"{name}.cls": b"dog", **sample("b")}
    parsed = rows(tmp_path, archive(files, tarfile.GNU_FORMAT))
    assert ids(parsed) == ["b"]
    assert "not valid Unicode" in messages(parsed)[0]
    parsed = rows(tmp_path, archive({f"{name}.{name}.jpg": b"x", **sample("b")}, tarfile.GNU_FORMAT))
    assert "key ends at the first dot" in messages(parsed)[0]
    for problem in parsed[0].problems:
        assert f"{problem} {problem.id}".encode()


# ----------------------------------------------------------------------------------------------- archives that break


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("x", len(records), kind) + records + bytes(-len(records) % 512)


BROKEN = {
    "cut in a member": archive(sample("b"))[: 512 + 3],
    "cut in a header": header("b.jpg", 3)[:300],
    "cut at a boundary": header("b.txt"),
    "size beyond the end": header("b.jpg", 10_000) + END,
    "size of 8 EiB": header("b.jpg", (1 << 63) - 1) + END,
    "negative size": header("b.jpg", -512) + END,
    "bad checksum": header("b.jpg", 3).replace(b"b.jpg", b"c.jpg") + END,
    "noise": b"\x01" * 512 + END,
    "sparse": header("b.jpg", 0, tarfile.GNUTYPE_SPARSE) + END,
    "pax bomb": header("x", 1 << 40, tarfile.XHDTYPE) + END,
    "pax of a megabyte too much": header("x", (1 << 20) + 1, tarfile.XHDTYPE) + bytes((1 << 20) + 512) + END,
    "pax beyond the end": header("x", 1 << 20, tarfile.XHDTYPE) + END,
    "long name beyond the end": header("x", 1 << 20, tarfile.GNUTYPE_LONGNAME) + END,
    "pax without a length": pax(b"path=a\n") + END,
    "pax of length zero": pax(b"0 path=a\n") + END,
    "pax with a long length": pax(b"99 path=a\n") + END,
    "pax size is no number": pax(b"13 size=-512\n") + header("b.jpg") + END,
    "pax size beyond the end": pax(b"14 size=99999\n") + header("b.jpg") + END,
    "global size": pax(b"10 size=9\n", tarfile.XGLTYPE) + END,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_archive_is_one_problem_after_what_was_whole(tmp_path, name):
    whole = archive(sample("good")).rstrip(b"\0")
    whole += bytes(-len(whole) % 512)
    parsed = rows(tmp_path, whole + header("between.txt") + BROKEN[name])
    assert messages(parsed)[-1].endswith("the samples from there on are lost: write the shard anew")
    assert len(messages(parsed)) == 1
    pattern = write_shards(tmp_path / "next", {}, sample("next"))
    (tmp_path / "next" / "000.tar").write_bytes(BROKEN[name])
    assert ids(list(open_rows(pattern))) == ["next"]


def test_a_sparse_file_in_pax_form(tmp_path):
    record = b"22 GNU.sparse.major=1\n"
    parsed = rows(tmp_path, pax(record) + header("a.jpg") + archive(sample("good")))
    assert ids(parsed) == ["good"]
    assert "sparse" in messages(parsed)[0]


def test_many_problems_of_one_key_are_not_held(tmp_path):
    link = header("a.jpg", 0, tarfile.SYMTYPE)
    (parsed,) = rows(tmp_path, link * 1000 + END)
    assert 0 < len(parsed.problems) < 20


GOOD = archive({**sample("a"), **sample("b" * 120), "c.jpg": b"x", "c.mask.png": b"y", "c.cls": b"dog"})


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(GOOD)))
@settings(max_examples=150)
def test_no_archive_raises_anything_but_a_refusal(tmp_path_factory, changes, length):
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.tar"
    path.write_bytes(data[:length])
    with suppress(DataError, SampleError):  # a source without samples, an image of no bytes
        for row in open_rows(str(path)):
            if row.sample is not None:
                assert row.sample.image.startswith("tar:")
                read_bytes(row.sample.image)


@pytest.mark.parametrize("magic", [b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
def test_a_compressed_archive_is_refused_with_the_cure(tmp_path, magic):
    with pytest.raises(DataError, match=r"is compressed, and images are read at random: .* it first"):
        rows(tmp_path, magic + bytes(2000))


def test_extended_headers_alone_come_to_an_end(tmp_path):
    parsed = rows(tmp_path, pax(b"10 note=a\n") * 2000 + archive(sample("b")))
    assert messages(parsed) == []


# ------------------------------------------------------------------------------------------------------------ reading


def test_threads_and_other_processes_read_the_same(tmp_path):
    pattern = write_shards(tmp_path, *({f"{n}-{k}.jpg": os.urandom(5000) for k in range(20)} for n in range(3)))
    places = []
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path) as tar:
            places += [f"tar:{member.offset_data}+{member.size}:{path}" for member in tar]
    assert pattern.endswith("{000..002}.tar")
    alone = [read_bytes(place) for place in places]
    assert len(set(alone)) == 60
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read_bytes, places)) == alone
    with get_context("spawn").Pool(1) as pool:
        assert pool.map(read_bytes, places) == alone


def test_more_shards_than_files_stay_open(tmp_path, monkeypatch):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(200):
        (tmp_path / f"{number}.tar").write_bytes(f"{number:04d}".encode())
        assert read_bytes(f"tar:1+3:{tmp_path / f'{number}.tar'}") == f"{number:03d}".encode()
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 64


def test_a_shard_that_was_replaced_is_opened_anew(tmp_path):
    for content in (b"one", b"two"):
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(tmp_path / "s.tar")
        assert read_bytes(f"tar:0+3:{tmp_path / 's.tar'}") == content


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("tar:0+9:{}/s.tar", "beyond the end of a file of 8 bytes"),
        ("tar:9223372036854775807+9:{}/s.tar", "beyond the end"),
        ("tar:0+0:{}/s.tar", "is empty"),
        ("tar:0+4:{}/none.tar", "no such file"),
        ("tar:0+4:{}/pipe", "not a regular file"),
        ("tar:0+4:{}", "not a regular file"),
        ("tar:0+99999999999:{}/s.tar", "the limit is"),
        ("tar:0+4:memory://none/none.tar", "no such file"),
    ],
)
def test_places_that_cannot_be_read(tmp_path, place, what):
    (tmp_path / "s.tar").write_bytes(b"12345678")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SampleError, match=what):
        read_bytes(place.format(tmp_path))


@given(
    st.sampled_from(["tar:", "parquet:", ""]),
    st.sampled_from(["0+6:", "0/0/image:", "0+6", ":", ""]),
    st.sampled_from(
        ["/etc/passwd", "//etc/passwd", "///etc/passwd", "s3://b/x.tar", "memory://x.tar", "../x", "x.tar"]
    ),
)
def test_a_manifest_cannot_name_a_place_in_a_container(kind, numbers, rest):
    written = kind + numbers + rest
    try:
        found = Folder(Path("/set")).locate(written)
    except ValueError:
        return
    assert not re.match(r"(tar|parquet):[0-9]", found)
    assert found.startswith("/set/") or found == written


def test_places_are_relative_to_a_folder_as_their_container_is(tmp_path):
    folder = Folder(tmp_path)
    assert folder.relative(f"tar:512+3:{tmp_path}/a/s.tar") == "tar:512+3:a/s.tar"
    assert folder.relative("tar:512+3:s3://b/s.tar") == "tar:512+3:s3://b/s.tar"


# ------------------------------------------------------------------------------------------------------------- remote


@pytest.fixture
def remote() -> fsspec.AbstractFileSystem:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for number in range(3):
        memory.pipe(f"/b/{number:03d}.tar", archive(sample(f"s{number}")))
    return memory


@pytest.mark.parametrize("pattern", ["memory://b/{000..002}.tar", "memory://b/*.tar"])
def test_remote_shards(remote, pattern, own_cache):
    parsed = list(open_rows(pattern))
    assert [read_bytes(row.sample.image) for row in parsed] == [b"image s0", b"image s1", b"image s2"]
    assert "memory://" in parsed[0].sample.image
    copies = [path for path in (own_cache / "shards").iterdir() if path.suffix != ".lock"]
    assert sorted(path.stat().st_size for path in copies) == [len(archive(sample("s0")))] * 3


def test_a_shard_is_fetched_once_and_again_when_it_changed(remote, monkeypatch):
    fetches: list[str] = []
    honest = type(remote).get_file
    monkeypatch.setattr(
        type(remote),
        "get_file",
        lambda self, name, *rest, **options: fetches.append(name) or honest(self, name, *rest, **options),
    )
    for _ in range(2):
        remote_cache._known.clear()
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: remote_cache.fetched("memory://b/000.tar").read_bytes(), range(8))) == {
                archive(sample("s0"))
            }
    assert len(fetches) == 1
    remote.pipe("/b/000.tar", archive(sample("other")))
    remote_cache._known.clear()
    assert ids(list(open_rows("memory://b/000.tar"))) == ["other"]


def test_a_fetch_that_fails_is_tried_again_and_never_leaves_half_a_file(remote, monkeypatch, own_cache):
    honest = type(remote).get_file
    outcomes = ["raise", "cut", "whole"]

    def flaky(self, name, target, **options):
        outcome = outcomes.pop(0)
        if outcome == "raise":
            raise ConnectionError("reset")
        honest(self, name, target, **options)
        if outcome == "cut":
            os.truncate(target, 700)

    monkeypatch.setattr(type(remote), "get_file", flaky)
    assert ids(list(open_rows("memory://b/001.tar"))) == ["s1"]
    remote_cache._known.clear()
    outcomes[:] = ["cut"] * 4
    with pytest.raises(DataError, match=r"700 of \d+ bytes came"):
        list(open_rows("memory://b/002.tar"))
    assert len([path for path in (own_cache / "shards").iterdir() if path.suffix != ".lock"]) == 1


def test_the_cache_is_bounded_and_what_it_dropped_comes_again(remote, monkeypatch, own_cache):
    monkeypatch.setenv("RATE_CACHE_BYTES", str(2 * len(archive(sample("s0")))))
    parsed = list(open_rows("memory://b/*.tar"))
    copies = [path for path in (own_cache / "shards").iterdir() if path.suffix != ".lock"]
    assert len(copies) == 2
    assert [read_bytes(row.sample.image) for row in parsed] == [b"image s0", b"image s1", b"image s2"]


def test_a_shard_larger_than_the_cache_is_refused(remote, monkeypatch):
    monkeypatch.setenv("RATE_CACHE_BYTES", "9000")
    with pytest.raises(DataError, match="has 10,240 bytes, the cache holds 9,000; RATE_CACHE_BYTES changes it"):
        list(open_rows("memory://b/000.tar"))
    monkeypatch.setenv("RATE_CACHE_BYTES", "9 GB")
    with pytest.raises(ConfigError, match="RATE_CACHE_BYTES must be a whole number of bytes, got '9 GB'"):
        list(open_rows("memory://b/000.tar"))


def test_what_a_killed_fetch_left_is_cleared(remote, own_cache):
    list(open_rows("memory://b/000.tar"))
    (copy,) = (path for path in (own_cache / "shards").iterdir() if path.suffix != ".lock")
    left = copy.with_name(f".{copy.name}.rate-{copy.name[:16]}.tmp")
    copy.rename(left)
    assert ids(list(open_rows("memory://b/000.tar"))) == ["s0"]
    assert copy.exists()
    assert not left.exists()


def test_what_is_not_a_copy_is_never_deleted_to_make_room(remote, own_cache, monkeypatch):
    """RATE_CACHE may name a folder that has shards of its own."""
    theirs = own_cache / "shards" / "000000.tar"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs" * 4000)
    os.utime(theirs, (0, 0))
    monkeypatch.setenv("RATE_CACHE_BYTES", "12000")
    list(open_rows("memory://b/000.tar"))
    list(open_rows("memory://b/001.tar"))
    assert theirs.read_bytes() == b"theirs" * 4000
    assert len([path for path in theirs.parent.iterdir() if path.suffix == ""]) == 1, "the older copy made room"


def test_a_shard_that_is_not_there(remote, tmp_path):
    with pytest.raises(DataError, match=r"003.tar does not exist"):
        list(open_rows("memory://b/{002..003}.tar"))
    with pytest.raises(DataError, match=r"001.tar does not exist"):
        open_rows(write_shards(tmp_path, sample("a")).replace("000}", "001}"))


def test_a_picture_in_a_shard_is_a_picture(tmp_path):
    from rate.data.images.prepare import load_image, load_mask

    (row,) = rows(tmp_path, archive({"a.png": picture(), "a.mask.png": picture(255), "a.cls": b"dog"}))
    assert load_image(row.sample.image).size == (6, 4)
    assert load_mask(row.sample.mask).object.all()
