"""What is said of a run by swaps, from real runs: summary, comparison and gate, held against its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from function_models import SIZE, evaluate, job, light
from gate_runs import decided

from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.records import plain, written
from rate.report.compare.compare import Comparison, compare
from rate.report.heads import HeadRun, load_head
from rate.report.schemas import all_schemas
from rate.runs.merge import merge
from rate.runs.status import read_status
from rate.runs.summary.summarise import HeadSummary, load_summary
from rate.statistics.means import LEAST, SWAP_METRICS, mean_of
from rate.statistics.paired import mean_difference
from rate.statistics.validity import SWEEP_TAUS
from rate.types import Float32
from tests.conftest import write_images


def by_both(x: Float32) -> dict[str, Float32]:
    """Head a reads the upper left quarter and a little less of the rest, head b the reverse, and both two pixels."""
    noise = 0.3 * (x[:, 0, 5, 5] + x[:, 1, 27, 27])
    corner, rest = x[:, :, : SIZE // 2, : SIZE // 2].mean(axis=(1, 2, 3)), x[:, :, :, SIZE // 2 :].mean(axis=(1, 2, 3))
    light = {"a": 0.55 * corner + 0.45 * rest + noise, "b": 0.45 * corner + 0.55 * rest + noise}
    columns = {"a": (-light["a"], light["a"]), "b": (light["b"], -light["b"], -9.0 + 0 * light["b"])}
    return {name: np.stack(one, axis=1).astype(np.float32) for name, one in columns.items()}


@dataclass(frozen=True)
class Made:
    """Runs of one set."""

    manifest: Path
    fixed: Path
    auto: Path
    other: Path  # of another model, as `fixed`
    by_map: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("swaps")
    manifest = write_images(root / "set", 30, 40)
    found = Made(manifest, *(root / name for name in ("fixed", "auto", "other", "by_map")))
    evaluate(job(manifest, verdict="swap", fills=6), FakeSpec(by_both), found.fixed)
    evaluate(job(manifest, verdict="swap"), FakeSpec(by_both), found.auto)
    evaluate(job(manifest, verdict="swap", fills=6), FakeSpec(light), found.other)
    evaluate(job(manifest), FakeSpec(by_both), found.by_map)
    return found


def values(head: HeadRun, metric: str) -> np.ndarray:
    rows = [row for row in head.rows().to_pylist() if row["object_only"] is not None]
    of_metric = {name: [row[name] for row in rows] for name in LEAST if name != "gap"}
    gaps = np.subtract(of_metric["object_only"], of_metric["background_only"])
    return np.array(gaps if metric == "gap" else of_metric[metric])


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("folder", ["fixed", "auto"])
def test_the_summary_holds_the_means_of_the_rows(made: Made, name: str, folder: str) -> None:
    head = load_head(f"{getattr(made, folder)}@{name}")
    swap = head.summary.swap
    for metric, least in LEAST.items():
        mean, expected = getattr(swap, metric), values(head, metric)
        assert mean.samples == len(expected) == 30
        assert mean.value == pytest.approx(expected.mean())
        alone = mean_of(expected, least=least)
        assert (mean.low, mean.high) == pytest.approx((alone.low, alone.high)), "4 clusters are too few to count"
        assert mean.clusters == 4
    assert swap.gap.value == pytest.approx(swap.object_only.value - swap.background_only.value)
    fills = np.array(head.rows()["fills"].to_pylist())
    assert swap.fills == pytest.approx(fills.mean())
    forwards = np.array(head.rows()["forwards"].to_pylist())
    assert head.summary.forwards_mean == pytest.approx(forwards.mean())
    assert ((forwards == 1 + 2 * fills) | (forwards >= 1 + 2 * fills + 9)).all(), "some are swapped a second time"
    for group in head.summary.groups.values():
        assert group.swap.object_only.samples == group.n == 10


def test_summary_json_has_them_and_a_run_by_maps_has_null(made: Made) -> None:
    for folder in (made.fixed, made.by_map):
        document = json.loads((folder / "summary.json").read_text())
        assert document.pop("sha256")
        jsonschema.validate(document, all_schemas()["summary"])
        assert document == json.loads(written(load_summary(folder).document))
        for head in document["heads"].values():
            parts = [head, *head["groups"].values()]
            assert {part["swap"] is None for part in parts} == {folder == made.by_map}


def test_only_a_fixed_number_of_fills_is_swept(made: Made) -> None:
    assert load_summary(made.auto).heads["a"].sweep == ()
    head = load_head(f"{made.fixed}@a")
    rows = [row for row in head.rows().to_pylist() if row["valid"] is not None and row["correct"]]
    points = head.summary.sweep
    assert [point.tau for point in points] == list(SWEEP_TAUS)
    for point in points:
        assert point.pt == pytest.approx(np.mean([row["share"] >= point.tau for row in rows]))
    assert points[9].pt == head.summary.pt.ratio.value
    assert len({point.pt for point in points}) > 2


def test_merged_shards_say_the_same(made: Made, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        evaluate(job(made.manifest, verdict="swap", fills=6, shard=f"{number}/2"), FakeSpec(by_both), part)
    merged = merge(parts, tmp_path / "merged")
    assert plain(merged.document)["heads"] == plain(load_summary(made.fixed).document)["heads"]
    status = read_status(tmp_path / "merged")
    assert (status.status, status.done, status.settled) == ("complete", 30, {"fixed": 60})


def test_show_prints_them(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    head = load_head(f"{made.fixed}@a").summary
    assert run(["show", f"{made.fixed}@a"]) == 0
    shown = capsys.readouterr().out
    lines = {" ".join(line.split()[:1]): " ".join(line.split()) for line in shown.splitlines() if line}
    for metric, title in (("object_only", "object-only"), ("background_only", "background-only"), ("gap", "gap")):
        mean = getattr(head.swap, metric)
        assert lines[title] == f"{title} {mean.value:.3f} {mean.low:.3f} - {mean.high:.3f} 30"
    assert "fill noise" in shown
    assert "mask" not in shown
    assert f"{head.swap.kept_alone.value:.3f} of the pictures around the region" in shown
    assert "6.0 pictures an image" in shown
    said = [
        f"{title} {ratio.value:.3f} ({ratio.low:.3f} - {ratio.high:.3f}) of {ratio.numerator}/{ratio.denominator}"
        for title, ratio in (("PT", head.pt.shuffled_ratio), ("IR", head.ir.shuffled_ratio))
        if ratio.denominator
    ]
    assert said
    assert f"along the region of another one, too; {', '.join(said)}" in " ".join(shown.split())
    assert f" {head.pt.uniform:.3f} {head.pt.shuffled:.3f} " in " ".join(shown.split())
    assert run(["show", f"{made.by_map}@a"]) == 0
    assert "object-only" not in capsys.readouterr().out


def compared(made: Made) -> Comparison:
    return compare([f"{made.fixed}@a", f"{made.other}@a"])


def test_two_runs_are_compared_sample_by_sample(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = compared(made)
    [pair] = comparison.pairs
    heads = [load_head(f"{folder}@a") for folder in (made.fixed, made.other)]
    for metric in SWAP_METRICS:
        first, second = (values(head, metric) for head in heads)
        change = pair.differences[metric]
        assert change.value == pytest.approx((second - first).mean())
        alone = mean_difference(metric, first, second, least=LEAST[metric])
        assert (change.low, change.high) == pytest.approx((alone.low, alone.high))
        assert change.low < change.value < change.high
    document = json.loads(written(comparison.document))
    jsonschema.validate(document, all_schemas()["comparison"])
    assert list(document["pairs"][0]["means"]) == list(SWAP_METRICS)
    assert "gap" not in document["pairs"][0]["differences"]
    assert run(["compare", f"{made.fixed}@a", f"{made.other}@a"]) == 0
    shown = capsys.readouterr().out
    assert [text.partition(" ")[0].rstrip(":") for text in pair.conclusions[-3:]] == [
        "object-only",
        "background-only",
        "gap",
    ]
    assert all(text in shown for text in pair.conclusions)


def test_a_run_by_maps_has_no_means_and_is_not_compared_with_one_by_swaps(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    [pair] = compare([str(made.by_map)]).pairs
    assert pair.means == ()
    assert pair.document.means == {}
    assert run(["compare", f"{made.fixed}@a", f"{made.by_map}@a"]) == 2
    assert "measurement.verdict: 'swap'" in capsys.readouterr().err


def summary_of(folder: Path, name: str = "a") -> HeadSummary:
    return load_summary(folder).heads[name]


@pytest.mark.parametrize("metric", SWAP_METRICS)
@pytest.mark.parametrize("bound", ["min", "max"])
def test_the_gate_decides_on_the_interval_of_the_summary(made: Made, metric: str, bound: str) -> None:
    head = load_head(f"{made.other}@a")
    mean = getattr(head.summary.swap, metric)
    for threshold in (0.1, 0.5, 0.9):
        [result] = decided({"metric": metric, bound: threshold}, head).results
        assert (result.reading.value, result.reading.low, result.reading.high) == (mean.value, mean.low, mean.high)
        above, below = mean.low >= threshold, mean.high < threshold
        if bound == "max":
            above, below = mean.high <= threshold, mean.low > threshold
        assert result.state == ("pass" if above else "fail" if below else "inconclusive")
        [by_value] = decided({"metric": metric, bound: threshold, "use": "value"}, head).results
        assert (by_value.state == "pass") == (mean.value >= threshold if bound == "min" else mean.value <= threshold)


@pytest.mark.parametrize("metric", SWAP_METRICS)
def test_a_drop_is_the_paired_difference_also_within_a_slice(made: Made, metric: str) -> None:
    before, after = load_head(f"{made.other}@a"), load_head(f"{made.fixed}@a")
    [result] = decided({"metric": metric, "max_drop": 0.05}, after, before).results
    change = compare([f"{made.other}@a", f"{made.fixed}@a"]).pairs[0].differences[metric]
    assert (result.reading.value, result.reading.low, result.reading.high) == (change.value, change.low, change.high)
    assert (result.reading.candidate, result.reading.baseline) == (change.second.value, change.first.value)
    by_group = decided({"metric": metric, "max_drop": 0.05, "slice": "group"}, after, before).results
    assert [one.slice for one in by_group] == ["g0", "g1", "g2"]
    assert np.mean([one.reading.value for one in by_group]) == pytest.approx(change.value), "groups are equally large"
    assert {one.reading.denominator for one in by_group} == {10}


def test_a_run_by_maps_is_inconclusive_and_the_cure_is_named(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text('[[check]]\nmetric = "gap"\nmin = 0.1\nslice = "class"\n')
    files = [tmp_path / "gate.xml", tmp_path / "gate.md"]
    options = ["--policy", str(policy), "--junit", str(files[0]), "--markdown", str(files[1])]
    assert run(["gate", f"{made.by_map}@a", *options, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, all_schemas()["gate"])
    [check] = document["checks"]
    assert (check["state"], check["value"]) == ("inconclusive", None)
    assert "gap is measured by swaps" in check["message"]
    assert all("evaluate with --verdict swap" in file.read_text() for file in files)
    assert run(["gate", f"{made.fixed}@a", *options]) in (0, 1, 3)
    shown = capsys.readouterr().out
    assert "gap min 0.1 by class [dark]" in shown
    assert "by class \\[dark\\]" in files[1].read_text() or "| dark |" in files[1].read_text()
