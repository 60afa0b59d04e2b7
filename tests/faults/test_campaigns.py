"""The campaigns of benchmarks/faults, a few cases of each; and that they see what they look for."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import rows
from benchmarks.faults.changing_sets import consistent
from benchmarks.faults.file_operations import library, loading
from benchmarks.faults.outcome import Failure

FEW = {
    "kills": ("kills/eval", "kills/grid"),
    "full_disks": ("full_disks/eval", "full_disks/merge"),
    "bit_flips": ("bit_flips/parts",),
    "hostile": tuple(f"hostile/{name}/" for name in ("png", "jpeg", "mask", "csv", "jsonl", "parquet", "tar", "coco")),
    "changing_sets": ("changing_sets/between-sessions/labels", "changing_sets/between-sessions/manifest"),
}
CASES = 2


def campaign(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.faults", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("campaigns") / "few.json"
    wanted = ",".join(name for names in FEW.values() for name in names)
    done = campaign("--only", wanted, "--cases", str(CASES), "--out", str(out))
    assert out.exists(), done.stdout + done.stderr
    return json.loads(out.read_text())["figures"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_a_few_cases_of_a_campaign(name: str, figures: dict) -> None:
    found = figures[name]
    assert (found["cases"], found["failures"]) == (CASES, 0), found["failing"]
    assert sum(sum(outcomes.values()) for outcomes in found["outcomes"].values()) == CASES


DYING = """
import os, sys
from pathlib import Path
from benchmarks.faults.file_operations import Action, Fault, arm
os.chdir(sys.argv[1])
arm(Path.cwd(), Path(sys.argv[2]), Fault(Action[sys.argv[3]], int(sys.argv[4]), 28))
Path("first").write_bytes(b"1" * 1000)
Path("first").rename("second")
Path("third").mkdir()
"""


def dying(folder: Path, action: str, at: int) -> subprocess.CompletedProcess[str]:
    (folder / "work").mkdir()
    arguments = [str(folder / "work"), str(folder / "log"), action, str(at)]
    command = [sys.executable, "-c", DYING, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=loading(library()))


def test_every_file_operation_is_counted(tmp_path: Path) -> None:
    assert dying(tmp_path, "COUNT", 0).returncode == 0
    assert (tmp_path / "log").read_text().split("\n") == [
        "1 open first",
        "2 write ",
        "3 rename second",
        "4 mkdir third",
        "",
    ]


def test_a_kill_comes_in_the_middle_of_a_write(tmp_path: Path) -> None:
    assert dying(tmp_path, "KILL", 2).returncode == -signal.SIGKILL
    assert (tmp_path / "work" / "first").read_bytes() == b"1" * 500


@pytest.mark.parametrize(("action", "at"), [("FAIL_ONCE", 3), ("FAIL_FROM_THEN_ON", 2)])
def test_an_operation_fails_with_the_error_of_a_full_disk(tmp_path: Path, action: str, at: int) -> None:
    assert "No space left on device" in dying(tmp_path, action, at).stderr
    assert not (tmp_path / "work" / "second").exists()


def whole() -> dict:
    held = {f"s{k}/native": {"id": f"s{k}", "head": "native", "rma": 0.5, "valid": True} for k in range(3)}
    return {"status": "complete", "rows": held, "heads": {"native": {"n": 3}}, "maps": {}}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("lost", lambda found: found["rows"].pop("s1/native")),
        ("doubled", lambda found: found["rows"].update({"s9/native": {}})),
        ("differs", lambda found: found["rows"]["s1/native"].update(valid=False)),
        ("differs", lambda found: found["rows"]["s1/native"].update(rma=0.51)),
        ("differs", lambda found: found.update(status="partial")),
        ("differs", lambda found: found["heads"]["native"].update(n=4)),
    ],
)
def test_what_is_lost_doubled_or_changed_is_seen(kind: str, change) -> None:
    found = copy.deepcopy(whole())
    rows.compare(whole(), found)
    change(found)
    with pytest.raises(Failure) as failure:
        rows.compare(whole(), found)
    assert failure.value.kind == kind


def stored_run(folder: Path, labels: list[str]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "samples").mkdir(parents=True)
    held = [{"id": f"s{k}", "head": "native", "label": label, "error": None} for k, label in enumerate(labels)]
    pq.write_table(pa.Table.from_pylist(held), folder / "samples" / "part-1.parquet")
    (folder / "run.json").write_text(json.dumps({"status": "complete"}))
    (folder / "parts.jsonl").write_text(json.dumps({"name": "part-1.parquet"}) + "\n")
    return folder


def test_a_run_of_two_sets_is_seen(tmp_path: Path) -> None:
    as_it_was = {"/".join(key): row for key, row in rows.rows(stored_run(tmp_path / "a", ["red"] * 4)).items()}
    assert consistent(as_it_was, tmp_path / "a", 0, "") == "the set as it was"
    with pytest.raises(Failure) as failure:
        consistent(as_it_was, stored_run(tmp_path / "b", ["red", "red", "blue", "red"]), 0, "")
    assert failure.value.kind == "mixed"


def test_a_case_is_made_again_by_its_name() -> None:
    done = campaign("--case", "bit_flips/parts/3")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bit_flips"]["cases"] == 1
    assert os.environ.get("LD_PRELOAD") is None
