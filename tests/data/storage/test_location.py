"""A manifest reaches what lies below its folder, and URLs to other machines; nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from rate.data.storage.location import Folder, RemoteFolder, read_bytes
from rate.errors import SampleError, SetChanged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "set"
    (inside / "images").mkdir(parents=True)
    (inside / "images" / "a.jpg").write_bytes(b"a")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return inside


@pytest.mark.parametrize("written", ["images/a.jpg", "./images/a.jpg", "images/../images/a.jpg", "images//a.jpg"])
def test_paths_below_the_folder_are_found(folder, written):
    found = Folder(folder).locate(written)
    assert found == str(folder / "images" / "a.jpg")
    assert Folder(folder).relative(found) == "images/a.jpg"


@pytest.mark.parametrize(
    "written", ["missing.jpg", "no/such/folder/x.jpg", "a:b.jpg", "..hidden.jpg", "~/a.jpg", "x" * 5000]
)
def test_what_does_not_exist_is_no_concern_yet(folder, written):
    assert Folder(folder).locate(written) == str(folder / written)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("../secret.jpg", "leaves"),
        ("images/../../secret.jpg", "leaves"),
        ("../set2/a.jpg", "leaves"),
        (".", "leaves"),
        ("/etc/passwd", "absolute"),
        ("C:\\Windows\\a.jpg", "absolute"),
        ("\\\\server\\share\\a.jpg", "absolute"),
        ("a\0.jpg", "NUL"),
        ("file:///etc/passwd", "absolute path; name its folder with --root /etc"),
        ("FILE:///etc/passwd", "absolute"),
        ("file:///etc/%00passwd", "NUL"),
        ("file://host/etc/passwd", "local disk"),
        ("local:///etc/passwd", "local disk"),
        ("zip://a.png::/etc/secret.zip", "local disk"),
        ("zip://a.png::file:///etc/secret.zip", "local disk"),
        ("simplecache::file:///etc/passwd", "local disk"),
        ("simplecache::memory://a.jpg::", "local disk"),
        ("nosuchscheme://bucket/a.jpg", "cannot be opened here"),
        ("c://etc/passwd", "cannot be opened here"),
    ],
)
def test_paths_that_escape_are_refused(folder, written, reason):
    with pytest.raises(ValueError, match=reason):
        Folder(folder).locate(written)


def test_a_neighbour_with_the_same_beginning_is_outside(folder):
    with pytest.raises(ValueError, match="leaves"):
        Folder(folder).locate("../set-b/a.jpg")


def test_a_link_out_of_the_folder_is_refused(folder):
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    (folder / "away").symlink_to(folder.parent, target_is_directory=True)
    for written in ("link.jpg", "away/secret.jpg", "away/not-there.jpg"):
        with pytest.raises(ValueError, match="symbolic link"):
            Folder(folder).locate(written)


@pytest.fixture
def roots(folder: Path) -> list[Path]:
    """Two further folders, the second by a link, with a file in each and a link from the first into the second."""
    store, far = folder.parent / "store", folder.parent / "far"
    for root in (store, far):
        root.mkdir()
        (root / f"{root.name}.jpg").write_bytes(root.name.encode())
    (store / "linked").symlink_to(far, target_is_directory=True)
    (folder.parent / "alias").symlink_to(far, target_is_directory=True)
    return [store, folder.parent / "alias"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("images/a.jpg", "a"),
        ("store.jpg", "store"),
        ("far.jpg", "far"),
        ("../store/store.jpg", "store"),
        ("linked/far.jpg", "far"),
        ("{parent}/store/store.jpg", "store"),
        ("{parent}/far/far.jpg", "far"),
        ("{parent}/alias/far.jpg", "far"),
        ("file://{parent}/store/../store/st%6Fre.jpg", "store"),
        ("{parent}/set/images/a.jpg", "a"),
    ],
)
def test_files_in_a_root_are_read_and_have_a_place_that_moves_with_it(folder, roots, written, name):
    within = Folder(folder, roots)
    located = within.locate(written.format(parent=folder.parent))
    assert read_bytes(located) == name.encode()
    assert within.relative(located) == {"a": "images/a.jpg"}.get(name, f"{name}.jpg")


@pytest.mark.parametrize(
    ("written", "cure"),
    [
        ("../secret.jpg", "--root"),
        ("{parent}/secret.jpg", "outside every root; name its folder with --root {parent}"),
        ("file://{parent}/secret.jpg", "outside every root"),
        ("{parent}/store/../secret.jpg", "outside every root"),
        ("out.jpg", "symbolic link out of the manifest's folder and of every root.*--root {parent}"),
        ("{parent}/store/out.jpg", "symbolic link"),
        ("{parent}/store2/a.jpg", "outside every root"),
    ],
)
def test_nothing_leaves_the_roots(folder, roots, written, cure):
    (roots[0] / "out.jpg").symlink_to(folder.parent / "secret.jpg")
    with pytest.raises(ValueError, match=cure.format(parent=folder.parent)):
        Folder(folder, roots).locate(written.format(parent=folder.parent))


def test_a_file_of_the_manifests_folder_comes_first_and_what_is_missing_is_expected_there(folder, roots):
    (folder / "store.jpg").write_bytes(b"own")
    assert read_bytes(Folder(folder, roots).locate("store.jpg")) == b"own"
    assert Folder(folder, roots).locate("missing.jpg") == str(folder / "missing.jpg")


def test_a_link_inside_the_folder_is_followed(folder):
    (folder / "link.jpg").symlink_to("images/a.jpg")
    (folder / "more").symlink_to("images", target_is_directory=True)
    assert Folder(folder).locate("link.jpg") == str(folder / "images" / "a.jpg")
    assert read_bytes(Folder(folder).locate("more/a.jpg")) == b"a"


def test_links_in_a_circle_are_no_crash(folder):
    (folder / "round").symlink_to("round")
    with pytest.raises(SampleError, match="round"):
        read_bytes(Folder(folder).locate("round"))


def test_the_folder_itself_may_be_a_link(folder):
    (folder.parent / "alias").symlink_to(folder, target_is_directory=True)
    alias = Folder(folder.parent / "alias")
    assert read_bytes(alias.locate("images/a.jpg")) == b"a"


def test_a_relative_folder_is_taken_from_where_we_are(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert Folder(Path()).locate("images/a.jpg") == str(folder / "images" / "a.jpg")


@pytest.mark.parametrize("written", ["file:///etc/passwd", "FILE:///etc/passwd", "/etc/passwd", "../a.png"])
def test_a_remote_manifest_names_no_file_of_this_machine(written):
    with pytest.raises(ValueError, match=r"which a remote manifest may not name|absolute path|leaves"):
        RemoteFolder("s3://bucket/set/manifest.csv").find(written)


def test_urls_are_read_and_stay_as_written(folder):
    fsspec.filesystem("memory").pipe("/set/a.jpg", b"remote")
    url = Folder(folder).locate("memory://set/a.jpg")
    assert url == "memory://set/a.jpg"
    assert Folder(folder).relative(url) == url
    assert read_bytes(url) == b"remote"


def test_relative_works_for_what_lies_elsewhere(folder):
    assert Folder(folder).relative(str(folder.parent / "secret.jpg")) == "../secret.jpg"
    assert Folder(Path("/")).relative("/tmp/a.jpg") == "tmp/a.jpg"


@pytest.mark.parametrize("address", ["{folder}/missing.jpg", "memory://set/missing.jpg"])
def test_missing(folder, address):
    with pytest.raises(SampleError, match=r"missing.jpg: no such file"):
        read_bytes(address.format(folder=folder))


def test_empty(folder):
    (folder / "empty.jpg").touch()
    fsspec.filesystem("memory").pipe("/set/empty.jpg", b"")
    for address in (str(folder / "empty.jpg"), "memory://set/empty.jpg"):
        with pytest.raises(SampleError, match=r"empty.jpg: the file is empty"):
            read_bytes(address)


def test_not_a_file(folder):
    os.mkfifo(folder / "pipe")
    for name in ("images", "pipe"):
        with pytest.raises(SampleError, match="not a regular file"):
            read_bytes(str(folder / name))


def test_too_large(folder, monkeypatch):
    monkeypatch.setenv("RATE_MAX_BYTES", "5")
    fsspec.filesystem("memory").pipe("/set/large.jpg", b"123456")
    (folder / "large.jpg").write_bytes(b"123456")
    for address in (str(folder / "large.jpg"), "memory://set/large.jpg"):
        with pytest.raises(SampleError, match="has 6 bytes, the limit is 5"):
            read_bytes(address)


def test_too_long_a_name(folder):
    with pytest.raises(SampleError, match="cannot be read"):
        read_bytes(Folder(folder).locate("x" * 5000))


@pytest.mark.parametrize("place", ["images/a.jpg", "images"])
def test_a_link_that_is_put_there_after_the_manifest_was_read_is_not_followed(folder, place):
    """What was checked is what is read, whoever exchanges a file or a folder in between."""
    found = Folder(folder).locate("images/a.jpg")
    assert read_bytes(found) == b"a"
    outside = folder.parent / "outside"
    (outside / "images").mkdir(parents=True)
    (outside / "images" / "a.jpg").write_bytes(b"secret")
    (folder / place).rename(folder / "before")
    (folder / place).symlink_to(outside / place)
    with pytest.raises(SetChanged, match="a symbolic link has come into this path since the set was first read"):
        read_bytes(found)


def test_a_link_that_is_put_there_in_the_middle_of_reading_is_not_followed(folder, monkeypatch):
    """The folder is exchanged after it was opened: the file still comes from the folder that was opened."""
    found, opened = Folder(folder).locate("images/a.jpg"), os.open

    def exchanging(name, *arguments, **options):
        if name == "a.jpg":
            (folder / "images").rename(folder / "before")
            (folder.parent / "a.jpg").write_bytes(b"secret")
            (folder / "images").symlink_to(folder.parent, target_is_directory=True)
        return opened(name, *arguments, **options)

    monkeypatch.setattr(os, "open", exchanging)
    assert read_bytes(found) == b"a"


def test_no_descriptor_is_left_open(folder):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("images/a.jpg", "images", "absent.jpg", "absent/a.jpg"):
        try:
            read_bytes(str(folder / name))
        except SampleError:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before
