"""Arrays of a foreign file: what would fill the memory is refused by its headers, and every shape is as it must be."""

from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from rate.artifacts.arrays import read_arrays
from rate.artifacts.artifact import Artifact
from rate.artifacts.parity_sample import load_sample
from rate.errors import ArtifactError

EXPECTED = {"x": ("f", ("n", 2)), "y": ("i", ("n",)), "z": ("f", ())}
ARRAYS = {"x": np.zeros((3, 2), np.float32), "y": np.arange(3), "z": np.float32(1)}


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """An array as it is stored; ``shape``: what its header says instead."""
    stream = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape if shape is None else shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + array.tobytes()


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS)
    found = read_arrays(tmp_path / "a.npz", EXPECTED)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize(
    "changed",
    [
        {"x": np.zeros((4, 2), np.float32)},
        {"x": np.zeros((3, 3), np.float32)},
        {"x": np.zeros((3, 2, 1), np.float32)},
        {"x": np.zeros((3, 2))},
        {"y": np.zeros(3, np.float32)},
        {"y": np.zeros(3, np.int32)},
        {"z": np.zeros(1, np.float32)},
        {"z": np.array("x")},
    ],
)
def test_another_kind_or_shape_is_refused(changed: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **(ARRAYS | changed))
    with pytest.raises(ValueError, match=f"'{next(iter(changed))}'|'y'"):
        read_arrays(tmp_path / "a.npz", EXPECTED)


def test_a_missing_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ARRAYS["x"])
    with pytest.raises(KeyError, match="y"):
        read_arrays(tmp_path / "a.npz", EXPECTED)


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """Compressed, and with a header that promises more than is there."""
    many = 64 << 20
    with zipfile.ZipFile(tmp_path / "packed.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(np.zeros((many // 8, 2), np.float32)))
    with zipfile.ZipFile(tmp_path / "promised.npz", "w") as archive:
        archive.writestr("x.npy", npy(np.zeros((1, 2), np.float32), (1 << 40, 2)))
    for name in ("packed.npz", "promised.npz"):
        assert (tmp_path / name).stat().st_size < 1 << 20
        tracemalloc.start()
        with pytest.raises(ValueError, match="'x'"):
            read_arrays(tmp_path / name, EXPECTED)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20


def test_a_damaged_parity_sample_is_one_message(shared_artifact: Artifact, artifact_copy: Path) -> None:
    path = artifact_copy / "parity.npz"
    whole = path.read_bytes()
    rng = random.Random(0)
    said = []
    artifact = structs.replace(shared_artifact, path=artifact_copy)
    heads = [at for at in range(len(whole) - 4) if whole[at : at + 2] == b"PK" or whole[at : at + 6] == b"\x93NUMPY"]
    for number in range(300):
        data = bytearray(whole)
        if number % 5 == 0:
            del data[rng.randrange(len(data)) :]
        else:  # near the headers, where a change matters
            at = min(rng.choice(heads) + rng.randrange(120), len(data) - 1)
            data[at] = rng.randrange(256)
        path.write_bytes(data)
        try:
            load_sample(artifact)
        except ArtifactError as error:
            said.append(str(error))
    assert len(said) > 100
    assert all("parity.npz" in text for text in said)


def test_rows_that_name_what_is_not_there_are_refused(shared_artifact: Artifact, artifact_copy: Path) -> None:
    artifact = structs.replace(shared_artifact, path=artifact_copy)
    with np.load(artifact_copy / "parity.npz") as arrays:
        whole = dict(arrays)
    for name, value in (("slot", 99), ("slot", -1), ("fill", 5), ("side", 3), ("offset", 1 << 40), ("offset", -1)):
        np.savez(artifact_copy / "parity.npz", **(whole | {name: np.full_like(whole[name], value)}))
        with pytest.raises(ArtifactError, match=r"parity\.npz"):
            load_sample(artifact)
