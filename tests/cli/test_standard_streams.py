"""Closed streams, readers that go away, full disks behind stdout, with real pipes: the work decides the exit code."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from gate_runs import states, write_run

from rate.runs.run_document import read_run

RATE = f"{shlex.quote(sys.executable)} -m rate"


def shell(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = ["bash", "-o", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, capture_output=True, check=False, timeout=120, env=os.environ | environment
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_run(folder / "run", {"a": states(rr=90, rw=10)})
    return folder


def crashes(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith("rate-crash")]


@pytest.mark.parametrize(
    ("arguments", "streams"),
    [
        ("eval --help", "| true"),
        *(("show run", streams) for streams in ("| true", ">&-", "0<&- >&- 2>&-", "2>&1 >/dev/null | true")),
    ],
)
def test_a_result_that_nobody_reads_is_no_error(made: Path, arguments: str, streams: str) -> None:
    done = shell(made, f"{RATE} {arguments} {streams}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert not crashes(made)


def test_the_first_line_is_all_that_is_read(made: Path) -> None:
    done = shell(made, f"{RATE} schema | head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{\n", b"")


def test_a_report_is_written_whoever_reads_its_name(made: Path, tmp_path: Path) -> None:
    done = shell(tmp_path, f"{RATE} report {made / 'run'} --out r.html | true")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").read_text().endswith("</html>")


@pytest.mark.parametrize("streams", ["2>&1 >/dev/null | true", ">&- 2>&- --log-json"])
def test_an_evaluation_without_stderr_goes_on_to_its_end(trained, tmp_path: Path, streams: str) -> None:
    method = "--saliency occlusion --window 60 --stride 40 --threads 1 --backend onnxruntime"
    done = shell(tmp_path, f"{RATE} eval {trained.artifact} {trained.manifest} --out run {method} {streams}")
    assert done.returncode == 0, done.stderr
    assert read_run(tmp_path / "run").status == "complete"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_what_is_found_in_a_set_is_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('id,image,label,boxes\na,gone.png,x,"[[0,0,1,1]]"\n')
    assert shell(tmp_path, f"{RATE} data check m.csv >&- 2>&-").returncode == 2


def test_a_narrow_encoding_of_stdout_loses_nothing_of_json(tmp_path: Path) -> None:
    write_run(tmp_path / "日本", {"é": states(rr=9, rw=1)})
    done = shell(tmp_path, f"{RATE} show 日本 --json", PYTHONIOENCODING="ascii")
    assert list(json.loads(done.stdout)["heads"]) == ["é"]
    for command, encoding in (("show 日本", "latin-1"), ("status 日本", "ascii")):
        assert shell(tmp_path, f"{RATE} {command}", PYTHONIOENCODING=encoding).returncode == 0


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = "from rate.cli import streams; streams.open_standard_streams(); f = open('f', 'w'); print(f.fileno() > 2)"
    done = shell(tmp_path, f'{shlex.quote(sys.executable)} -c "{code}; f.write(str(f.fileno()))" <&- >&- 2>&-; cat f')
    assert int(done.stdout) > 2
