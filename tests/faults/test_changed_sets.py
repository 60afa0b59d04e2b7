"""A set that changes under a run ends it with exit code 2 and says what; nothing is mixed in silence."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from function_models import evaluate, job, light
from PIL import Image
from shard_files import archive
from stored_rows import stored

from rate.backends.fake import FakeSpec
from rate.data import remaining
from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.pack import pack
from rate.data.images.corrupt import Corruption
from rate.data.images.prepare import read_content
from rate.data.make.corrupt_set import corrupt_set
from rate.data.storage import remote_cache
from rate.data.storage.location import read_bytes
from rate.engine.evaluate import Progress
from rate.errors import EXIT_USAGE, RunError, SetChanged
from rate.runs.run_document import read_run


def rewrite(manifest: Path, change: Callable[[list[str]], list[str]]) -> None:
    manifest.write_text("\n".join(change(manifest.read_text().splitlines())) + "\n")


def relabelled(lines: list[str]) -> list[str]:
    return [line.replace(",dark,", ",light,") if line.startswith("s4,") else line for line in lines]


def doubled(lines: list[str]) -> list[str]:
    return [line.replace("s5,", "s4,") if line.startswith("s5,") else line for line in lines]


def spoilt(lines: list[str]) -> list[str]:
    return [line.replace("5.png", "/etc/5.png") if line.startswith("s5,") else line for line in lines]


def other_image(folder: Path, number: int, level: int = 5) -> None:
    Image.new("RGB", (40, 40), (level, 0, 0)).save(folder / "new.png")
    (folder / "new.png").replace(folder / f"{number}.png")


def linked(folder: Path) -> None:
    (folder / "5.png").rename(folder.parent / "away.png")
    (folder / "5.png").symlink_to(folder.parent / "away.png")


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "labels": (lambda m: rewrite(m, relabelled), "'s4'.*'light'"),
    "ids twice": (lambda m: rewrite(m, doubled), "row 6.*'s4'"),
    "rows fewer": (lambda m: rewrite(m, lambda lines: lines[:6]), "it had 8 samples, and now it has 5"),
    "rows more": (lambda m: rewrite(m, lambda lines: [*lines, lines[1].replace("s0", "s9")]), "'s9'"),
    "a row is wrong": (lambda m: rewrite(m, spoilt), "row 6.*absolute"),
    "another image": (lambda m: other_image(m.parent, 5), "'s5'.*5.png"),
    "an image is written to": (lambda m: Image.new("RGB", (40, 40)).save(m.parent / "5.png"), "'s5'.*5.png"),
    "a link": (lambda m: linked(m.parent), "row 6.*symbolic link"),
    "an image is gone": (lambda m: (m.parent / "5.png").unlink(), "'s5'.*removed: .*5.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_before_it_is_used_ends_the_run(image_set, tmp_path: Path, change: str) -> None:
    manifest = image_set(8)
    alter, named = CHANGES[change]
    asked = job(manifest)
    alter(manifest)
    with pytest.raises(SetChanged, match=named) as found:
        evaluate(asked, FakeSpec(light), tmp_path / "run")
    assert found.value.exit_code == EXIT_USAGE
    assert "--out" in str(found.value)
    assert read_run(tmp_path / "run").status != "complete"
    for thread in threading.enumerate():
        if thread.name.startswith("rate-decode"):
            thread.join(5)
            assert not thread.is_alive()


def test_a_manifest_that_says_the_same_is_the_same(image_set, tmp_path: Path) -> None:
    manifest = image_set(8)
    asked = job(manifest)
    os.utime(manifest, ns=(1, 1))
    assert evaluate(asked, FakeSpec(light), tmp_path / "run").status == "complete"


def ppm(level: int) -> bytes:
    """An image of as many bytes whatever is on it, so that a replaced archive differs in its images alone."""
    return b"P6 40 40 255\n" + bytes([level]) * 4800


def tar_set(path: Path, count: int, level: int = 0) -> str:
    members: dict[str, bytes] = {}
    for k in range(count):
        members[f"{k:03d}.ppm"] = ppm((level + 7 * k) % 256)
        fields = {"id": f"s{k}", "label": "dark", "boxes": [[0, 0, 9, 9]]}
        members[f"{k:03d}.json"] = json.dumps(fields).encode()
    path.write_bytes(archive(members))
    return str(path)


def parquet_set(path: Path, count: int, level: int = 0) -> str:
    images = [{"bytes": ppm((level + 7 * k) % 256), "path": None} for k in range(count)]
    table = {"image": images, "label": ["dark"] * count, "boxes": [[[0.0, 0.0, 9.0, 9.0]]] * count}
    pq.write_table(pa.table(table), path)
    return str(path)


@pytest.mark.parametrize("written", [tar_set, parquet_set])
def test_containers_that_are_replaced_end_the_run(tmp_path: Path, written: Callable[..., str]) -> None:
    path = tmp_path / f"set.{'tar' if written is tar_set else 'parquet'}"
    asked = job(Path(written(path, 12)))
    written(tmp_path / "other", 12, 100)
    (tmp_path / "other").replace(path)
    with pytest.raises(SetChanged, match="set"):
        evaluate(asked, FakeSpec(light), tmp_path / "run")


def test_a_tar_that_is_damaged_while_it_is_used_ends_the_run(tmp_path: Path) -> None:
    data = tar_set(tmp_path / "set.tar", 300)
    samples = list(read_evaluation_set(data))
    assert read_bytes(samples[-1].image, samples[-1].image_stamp) == ppm(7 * 299 % 256)
    with Path(data).open("r+b") as file:
        file.truncate(Path(data).stat().st_size // 2)
    with pytest.raises(SetChanged, match=r"set\.tar has changed.*it was of [0-9,]+ bytes.*now it is of [0-9,]+ bytes"):
        read_bytes(samples[-1].image, samples[-1].image_stamp)


def test_workers_see_it_too(tmp_path: Path) -> None:
    data = tmp_path / "set.tar"
    asked = job(Path(tar_set(data, 60)), workers=2)
    tar_set(tmp_path / "other", 60, 100)

    def observe(now: Progress) -> None:
        if (tmp_path / "other").exists():
            (tmp_path / "other").replace(data)

    with pytest.raises(SetChanged, match=r"set\.tar"):
        evaluate(asked, FakeSpec(light), tmp_path / "run", observe)
    tar_set(tmp_path / "again.tar", 60)
    (tmp_path / "again.tar").replace(data)
    evaluate(job(data), FakeSpec(light), tmp_path / "alone")
    evaluate(job(data), FakeSpec(light), tmp_path / "run")
    assert sorted(map(str, stored(tmp_path / "run"))) == sorted(map(str, stored(tmp_path / "alone")))


def interrupted(asked: object, out: Path, after: int) -> None:
    def observe(now: Progress) -> None:
        if now.done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, FakeSpec(light), out, observe)


def test_an_image_that_changed_while_the_run_rested_is_found_when_it_goes_on(image_set, tmp_path: Path) -> None:
    manifest = image_set(40)
    interrupted(job(manifest), tmp_path / "run", after=9)
    done = next(row["id"] for row in stored(tmp_path / "run"))
    image = manifest.parent / f"{done[1:]}.png"
    shutil.copyfile(image, tmp_path / "before.png")
    other_image(manifest.parent, int(done[1:]))
    os.utime(image, ns=(1, 1))  # an old time does not hide it
    with pytest.raises(SetChanged, match=rf"{done}.*{image.name}"):
        evaluate(job(manifest), FakeSpec(light), tmp_path / "run")
    shutil.copyfile(tmp_path / "before.png", image)  # newly written, and the same bytes
    assert evaluate(job(manifest), FakeSpec(light), tmp_path / "run").status == "complete"


def test_a_remote_image_that_changed_while_the_run_rested_is_found(image_set, tmp_path: Path) -> None:
    manifest = image_set(30)
    storage = fsspec.filesystem("memory")
    for k in range(30):
        storage.pipe(f"/changed/{k}.png", (manifest.parent / f"{k}.png").read_bytes())
    rewrite(
        manifest,
        lambda lines: [line.replace(",", ",memory://changed/", 1) if "png" in line else line for line in lines],
    )
    interrupted(job(manifest), tmp_path / "run", after=9)
    for k in range(30):
        storage.pipe(f"/changed/{k}.png", ppm(3 * k))
    with pytest.raises(SetChanged, match="memory://changed/"):
        evaluate(job(manifest), FakeSpec(light), tmp_path / "run")


def test_a_remote_tar_that_was_replaced_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    storage = fsspec.filesystem("memory")
    storage.pipe("/changed/set.tar", Path(tar_set(tmp_path / "a.tar", 3)).read_bytes())
    samples = list(read_evaluation_set("memory://changed/set.tar"))
    storage.pipe("/changed/set.tar", Path(tar_set(tmp_path / "b.tar", 3, 100)).read_bytes())
    assert read_bytes(samples[0].image, samples[0].image_stamp) == ppm(0), "this process has its copy"
    remote_cache._known.clear()  # as in another process
    with pytest.raises(SetChanged, match="in the version"):
        read_bytes(samples[0].image, samples[0].image_stamp)


def test_a_copy_on_another_machine_is_not_judged_by_its_times(image_set) -> None:
    manifest = image_set(2)
    sample = next(iter(read_evaluation_set(str(manifest))))
    assert sample.image_stamp is not None
    elsewhere = sample.image_stamp._replace(host="elsewhere", inode=1, modified_ns=1)
    read_bytes(sample.image, elsewhere)
    with pytest.raises(SetChanged, match=r"0\.png"):
        read_bytes(sample.image, elsewhere._replace(size=3))


def test_what_is_packed_is_the_set_that_was_read_or_nothing(image_set, tmp_path: Path) -> None:
    manifest = image_set(8)

    def tick(done: int, total: int) -> None:
        if done == 1:
            other_image(manifest.parent, 5)

    with pytest.raises(SetChanged, match=r"5\.png"):
        pack(str(manifest), tmp_path / "packed", tick=tick)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_what_is_corrupted_is_the_set_that_was_read(image_set, tmp_path: Path) -> None:
    pytest.importorskip("imagecorruptions")
    manifest = image_set(4)

    def tick(done: int, total: int) -> None:
        if done == 1:
            other_image(manifest.parent, 3)

    with pytest.raises(SetChanged, match=r"3\.png"):
        corrupt_set(manifest, [Corruption("fog", 1)], tmp_path / "out", tick=tick)
    assert not list((tmp_path / "out").glob("*.csv"))


@pytest.mark.parametrize("replaced", [True, False])
def test_a_remote_tar_that_was_replaced_while_the_run_rested_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    storage, url = fsspec.filesystem("memory"), "memory://rested/set.tar"
    storage.pipe("/rested/set.tar", Path(tar_set(tmp_path / "a.tar", 30)).read_bytes())
    asked = job(url)
    interrupted(asked, tmp_path / "run", after=9)
    remote_cache._known.clear()
    read: list[str] = []
    monkeypatch.setattr(remaining, "read_content", lambda sample: read.append(sample.id) or read_content(sample))
    if replaced:
        storage.pipe("/rested/set.tar", Path(tar_set(tmp_path / "b.tar", 30, 100)).read_bytes())
        with pytest.raises(RunError, match="memory://rested/set"):
            evaluate(job(url), FakeSpec(light), tmp_path / "run")
    else:
        assert evaluate(job(url), FakeSpec(light), tmp_path / "run").status == "complete"
        assert read == [], "its version is known"
