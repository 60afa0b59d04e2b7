"""The index of a packed archive: one request for all names and labels, and what is not of `pack` is read as it is."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from object_store import ObjectStore
from shard_files import picture

from rate.data.evaluation_set import EvaluationSet, read_evaluation_set
from rate.data.formats import tar_index
from rate.data.formats.pack import pack
from rate.data.formats.tar import tar_rows
from rate.data.formats.tar_index import indexed
from rate.data.storage.container import Container

TAIL = 1 << 15

COUNT = 60


@pytest.fixture(autouse=True)
def tail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rate.data.storage.sparse_copy.TAIL", TAIL)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    lines = ["id,image,label,boxes"]
    for number in range(COUNT):
        (root / f"{number}.png").write_bytes(picture(number % 256) + bytes(2000))
        lines.append(f'ü{number},{number}.png,{("dog", "cat")[number % 2]},"[[0,0,2,2]]"')
    (root / "m.csv").write_text("\n".join(lines) + "\n")
    pack(str(root / "m.csv"), root / "packed")
    return root / "packed" / "000000.tar"


def of(path: Path) -> list[tuple[int, bytes]]:
    return [*indexed(Container(str(path), path.stat().st_size))]


def test_the_index_has_every_header_and_text_as_it_stands_in_the_archive(packed: Path) -> None:
    whole, parts = packed.read_bytes(), of(packed)
    assert len(whole) > TAIL
    assert parts
    assert all(whole[offset : offset + len(data)] == data for offset, data in parts)
    with tarfile.open(packed) as tar:
        members = tar.getmembers()
    assert members[-1].name == tar_index.NAME
    headers = [member.offset for member in members[:-1]]
    texts = [member.offset_data for member in members if member.name.endswith(".json")]
    assert sorted(offset for offset, _ in parts) == sorted(headers + texts)


def far(url: str, store: ObjectStore) -> EvaluationSet:
    store.asked.clear()
    return read_evaluation_set(url, elsewhere=True)


def test_a_packed_archive_is_read_with_one_request(packed: Path, store: ObjectStore) -> None:
    url = store.put("set/a.tar", packed.read_bytes())
    read = far(url, store)
    assert [(sample.id, sample.label) for sample in read] == [
        (sample.id, sample.label) for sample in read_evaluation_set(str(packed))
    ]
    assert len(read) == COUNT
    of_archive = [path for _, path in store.asked if "a.tar" in path]
    assert (store.count("RANGE"), len(of_archive)) == (2, 2), "one for each of the two readings"
    assert read.digest == read_evaluation_set(url).digest, "as of the whole archive"


def test_a_long_index_takes_one_request_more(packed: Path, store: ObjectStore, monkeypatch) -> None:
    monkeypatch.setattr("rate.data.storage.sparse_copy.TAIL", 1 << 13)
    far(store.put("set/a.tar", packed.read_bytes()), store)
    assert store.count("RANGE") == 2


def rewritten(packed: Path, folder: Path) -> Path:
    """The members with their headers in the same order, of which one has another label of the same length."""
    with tarfile.open(packed) as tar, tarfile.open(folder / "a.tar", "w") as other:
        for member in tar.getmembers():
            data = tar.extractfile(member).read()
            other.addfile(member, io.BytesIO(data.replace(b'"dog"', b'"cow"')))
    return folder / "a.tar"


def appended(packed: Path, folder: Path) -> Path:
    shutil.copyfile(packed, folder / "a.tar")
    with tarfile.open(packed) as tar, tarfile.open(folder / "a.tar", "a") as other:
        for suffix in ("json", "png"):
            data = tar.extractfile(f"000000000.{suffix}").read().replace("ü0".encode(), b"new")
            info = tarfile.TarInfo(f"new.{suffix}")
            info.size = len(data)
            other.addfile(info, io.BytesIO(data))
    return folder / "a.tar"


def shortened(packed: Path, folder: Path) -> Path:
    shutil.copyfile(packed, folder / "a.tar")
    subprocess.run(["tar", "--delete", "-f", folder / "a.tar", "000000000.json", "000000000.png"], check=True)
    return folder / "a.tar"


@pytest.mark.parametrize("changed", [rewritten, appended, shortened])
def test_an_archive_that_was_changed_is_read_by_its_headers(packed: Path, tmp_path: Path, store, changed) -> None:
    path = changed(packed, tmp_path)
    assert not of(path)
    read = far(store.put("set/a.tar", path.read_bytes()), store)
    assert [(one.id, one.label) for one in read] == [(one.id, one.label) for one in read_evaluation_set(str(path))]
    assert store.count("RANGE") > COUNT // 4


@pytest.mark.parametrize("text", [b"[[1, 2]]", b"7", b'[["a", "b"]]', b"[[", b'[["a", -9]]', b'[["a.png", 1e300]]'])
def test_an_index_of_something_else_is_none(tmp_path: Path, text: bytes) -> None:
    end = tar_index._END
    data = text.ljust(512 - len(end.format(0))) + end.format(512).encode()
    with tarfile.TarFile(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.fileobj.write(tar_index._marked(len(data)) + data)
        tar.offset += 512 + len(data)
    assert not of(tmp_path / "a.tar")
    assert not [*tar_rows([str(tmp_path / "a.tar")])]
