"""A real Ray of this machine: the rows of the local runner, whichever actor or driver dies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from function_models import KILL, deadly, job, light
from test_coordinator import rows_of, run_and_kill

from rate.backends.fake import FakeSpec
from rate.config import Execution
from rate.engine.pipeline import evaluate
from rate.engine.workers.launch import crew
from rate.engine.workers.on_ray import Needs, workers_that_fit
from rate.errors import UsageError
from rate.runs.store import read_run

ray = pytest.importorskip("ray", reason="Ray is not installed: nothing of the cluster runner is tested")


def on_ray(manifest: Path, out: Path, spec: FakeSpec) -> None:
    one = job(manifest, workers=2, runner="ray")
    with crew(one.execution) as found:
        evaluate(one, spec, out, lambda _: None, found.carry_out(spec))


def test_actors_and_drivers_that_are_killed_lose_nothing(
    image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = image_set(24), tmp_path / "run"
    evaluate(job(manifest), FakeSpec(light), tmp_path / "alone")
    run_and_kill(manifest, out, "ray", 2)
    before = read_run(out)["parts"]
    assert len(before) >= 2
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    monkeypatch.setenv(KILL, str(deaths))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    for name in ("once", "twice"):
        (deaths / name).touch()
    on_ray(manifest, out, FakeSpec(deadly))
    assert not list(deaths.iterdir()), "the actors were to die"
    assert rows_of(out) == rows_of(tmp_path / "alone")
    run = read_run(out)
    assert run["status"] == "complete"
    assert run["parts"][: len(before)] == before
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_named_with_the_cure() -> None:
    with (
        pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1.*ray start --head"),
        crew(Execution(runner="ray://127.0.0.1:1")),
    ):
        pass
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(
    ("resources", "needs", "fitting"),
    [({"CPU": 8.0}, Needs(2), 4), ({"CPU": 9.0, "GPU": 2.0}, Needs(1, 1), 2), ({"CPU": 1.0}, Needs(1), 1)],
)
def test_as_many_workers_as_the_scarcest_resource_allows(resources: dict, needs: Needs, fitting: int) -> None:
    assert workers_that_fit(resources, needs) == fitting


def test_a_worker_that_fits_nowhere_is_refused_and_not_waited_for() -> None:
    with pytest.raises(UsageError, match=r"needs \{'CPU': 4\} and the whole cluster has .*fewer --threads"):
        workers_that_fit({"CPU": 2.0}, Needs(4))
