"""`benchmarks.peers` without its peers: the protocol with real processes, and figures from known answers."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import peer_figures
from benchmarks.peer_figures import Asked
from benchmarks.peer_models import spread
from benchmarks.peer_tools import SCRIPTS, Tool, Unavailable, Worker, interpreter, tools

TOOL = """
import sys, time
import numpy as np
sys.path.insert(0, {scripts!r})
import worker

class Noisy:
    about = {{"version": "1", "precision": "f32", "runtime": "none"}}
    def __init__(self, setup):
        print("a library that prints")
        self.grown = None
        if setup.options.get("broken"):
            raise ValueError("no such model")
    def predict(self, image):
        return 3, 0.5
    def explain(self, images, masks):
        print("and again")
        if masks == 13:
            raise RuntimeError("unlucky")
        if masks == 1000:
            self.grown = np.ones((64, 2**17))
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        maps = [np.full((4, 4), 1.0) if masks == 7 else np.arange(16.0).reshape(4, 4) for _ in images]
        return worker.Explained(maps, masks * len(images), {{"said": "more"}})

worker.serve(Noisy)
"""


def start(folder: Path, **options: object) -> Worker:
    script = folder / "tool.py"
    script.write_text(TOOL.format(scripts=str(SCRIPTS)))
    setup = {"files": {}, "targets": [], "threads": 1, "options": options}
    return Worker(Tool("noisy", str(script), "", ()), Path(sys.executable), setup, folder / "log.txt")


def test_a_worker_answers_with_what_it_used(tmp_path: Path) -> None:
    worker = start(tmp_path)
    try:
        assert worker.loaded["prediction"] == 3
        assert worker.loaded["load_s"] > 0.05
        answer = worker.ask([0, 1], 16)
        assert (answer["forwards"], answer["unsound"], answer["said"]) == (32, 0, "more")
        assert 0.05 <= answer["cpu_s"] < 1.0
        assert answer["wall_s"] >= 0.05
        assert answer["idle_cpu_s"] < 0.05
        grown = worker.ask([0], 1000)
        assert 60 < grown["peak_mb"] - answer["peak_mb"] < 90  # it took 64 MiB more
        assert worker.ask([0, 1, 2], 7)["unsound"] == 3  # constant maps say nothing
    finally:
        worker.close()
    assert "and again" in (tmp_path / "log.txt").read_text()


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ValueError: no such model"):
        start(tmp_path, broken=True)
    worker = start(tmp_path)
    with pytest.raises(Unavailable, match="RuntimeError: unlucky"):
        worker.ask([0], 13)
    with pytest.raises(Unavailable, match="the worker ended: RuntimeError: unlucky"):
        worker.ask([0], 16)
    worker.close()


@pytest.mark.slow
def test_a_tool_that_cannot_be_installed_is_unavailable(tmp_path: Path) -> None:
    tool = replace(tools()["xaitk"], needs=(str(tmp_path / "no-such-package"),))
    with pytest.raises(Unavailable, match="pip install"):
        interpreter(tool, tmp_path)
    assert not (tmp_path / "xaitk" / "ready.txt").exists()


def test_every_tool_has_its_script_and_says_what_it_takes() -> None:
    for name, tool in tools().items():
        assert (SCRIPTS / tool.script).is_file(), name
        assert tool.files, name
        assert tool.is_peer != name.startswith("rate-")


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_valid_for_the_oldest_python_here(script: Path) -> None:
    compile(script.read_text(), script.name, "exec")


PEER, SLOW = Tool("peer", "with_xaitk.py", "", ()), Tool("slow", "with_dianna.py", "", ())
OURS, AUTO = Tool("rate-bf16", "with_rate.py", "", ()), Tool("rate-auto", "with_rate.py", "", (), masks="auto")
WINDOWS = Tool("windows", "with_captum.py", "", (), masks="windows")


def answered(tool: Tool, cpu: list[float], masks: int = 1000, forwards: int | None = None) -> list[Asked]:
    """Two images a request; idle half a second of CPU time in a hundred."""
    common = {"peak_mb": 100.4, "unsound": 0, "idle_cpu_s": 0.5, "idle_wall_s": 100.0}
    rows = 2 * masks if forwards is None else forwards
    return [
        Asked(tool, masks, number, 2, common | {"cpu_s": value, "wall_s": value / 2, "forwards": rows})
        for number, value in enumerate(cpu)
    ]


def test_ratios_are_taken_within_rounds_against_the_fastest_peer_of_as_many_masks() -> None:
    asked = [
        *answered(OURS, [10.0, 30.0, 20.0]),
        *answered(PEER, [20.0, 40.0, 80.0]),
        *answered(SLOW, [90.0, 90.0, 90.0]),
        *answered(WINDOWS, [1.0, 1.0, 1.0], forwards=8),
    ]
    assert peer_figures.fastest_peer(asked, 1000) == "peer"  # windows are fewer forwards, ours is no peer
    rows = peer_figures.rows(asked, 1000)
    assert list(rows) == ["rate-bf16", "peer", "slow", "windows"]
    assert rows["rate-bf16"]["cpu_s_per_image"] == {"median": 10.0, "min": 5.0, "max": 15.0}
    assert rows["rate-bf16"]["over_fastest_peer"]["cpu"] == {"median": 0.5, "min": 0.25, "max": 0.75}
    assert rows["peer"]["over_fastest_peer"]["wall"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert rows["windows"]["forwards_per_image"] == 4.0
    assert rows["windows"]["cpu_ms_per_forward"]["median"] == 125.0
    assert rows["peer"]["idle_share"] == 0.005
    text = peer_figures.table(rows, 1000)
    lines = text.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| rate-bf16 | 1000 | 10 (5 - 15) | 5 (2.5 - 7.5) | 10 | 0.5 | 0.5 | 100 |")


def test_without_a_peer_there_is_no_ratio() -> None:
    asked = answered(OURS, [10.0])
    assert peer_figures.fastest_peer(asked, 1000) is None
    rows = peer_figures.rows(asked, 1000)
    assert "over_fastest_peer" not in rows["rate-bf16"]
    assert "| - | - |" in peer_figures.table(rows, 1000)
    assert peer_figures.auto_over_peer(answered(AUTO, [1.0]), AUTO.name, 1000) is None


def test_the_adaptive_mode_faces_4000_masks() -> None:
    found = peer_figures.auto_over_peer([*answered(AUTO, [2.0, 4.0]), *answered(PEER, [20.0, 20.0])], AUTO.name, 1000)
    assert found is not None
    assert found["cpu"] == {"median": 0.0375, "min": 0.025, "max": 0.05}
    assert found["peer_time"] == "extrapolated linearly from 1000 masks"
    asked = [*answered(AUTO, [2.0], 4000), *answered(PEER, [20.0], 4000)]
    measured = peer_figures.auto_over_peer(asked, AUTO.name, 4000)
    assert measured is not None
    assert measured["cpu"]["median"] == 0.1
    assert measured["peer_time"] == "measured"


def test_verdicts_are_compared_where_both_have_one() -> None:
    auto = [
        {"id": name, "valid": valid, "settled": settled, "undefined_reason": None}
        for name, valid, settled in (
            ("a", True, "decided"),
            ("b", True, "decided"),
            ("c", False, "capped"),
            ("d", None, "decided"),
            ("e", True, "decided"),
        )
    ]
    other = [
        {"id": name, "valid": valid} for name, valid in zip("edcba", (None, True, False, False, True), strict=True)
    ]
    kept = peer_figures.verdicts_kept(auto, other)
    assert (kept["images"], kept["undefined_in_either"]) == (5, 2)
    assert (kept["decided"], kept["decided_equal"], kept["capped"], kept["capped_equal"]) == (2, 1, 1, 1)


def test_a_tool_that_works_unasked_or_says_nothing_is_named() -> None:
    spinning = [replace(one, answer=one.answer | {"idle_cpu_s": 50.0, "unsound": 2}) for one in answered(PEER, [1.0])]
    notices = list(peer_figures.unsound({1000: peer_figures.rows(spinning, 1000)}))
    assert [notice.startswith("peer ") for notice in notices] == [True, True]
    assert not list(peer_figures.unsound({1000: peer_figures.rows(answered(PEER, [1.0]), 1000)}))


@pytest.mark.parametrize(("count", "images"), [(1, 1), (7, 3), (240, 12), (5, 5)])
def test_images_are_spread_over_all_rows(count: int, images: int) -> None:
    found = spread(count, images)
    assert len(found) == images
    assert found[0] == 0
    assert found[-1] < count
    steps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert all(step in (count // images, -(-count // images)) for step in steps)


@pytest.mark.parametrize("images", [0, 8])
def test_more_images_than_there_are_is_refused(images: int) -> None:
    with pytest.raises(SystemExit, match="the data has 7 images"):
        spread(7, images)


def test_help_needs_no_peer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--auto" in done.stdout
