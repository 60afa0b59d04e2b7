"""rate-bench-graded: its numbers of a model that reads a tag, its ranks against scipy's, and numbers that are added."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import kendalltau, spearmanr

from benchmarks import graded, metric_ranks, metrics
from benchmarks.metric_ranks import APART, agreement
from benchmarks.metric_values import METRICS, instruments, numbers
from rate.data.make.synth import CLASSES, Synthetic, picture, write_set
from rate.export.export import ExportOptions, export_artifact

SIZE = 32
TAG = round(0.14 * SIZE)


def tag_reader(folder: Path) -> Path:
    """A graph whose logits come from the colour of the tag alone: nearest class in the tag's mean colours."""
    means = np.zeros((len(CLASSES), 3, SIZE, SIZE), np.float32)
    settings = Synthetic(train=64, test=1, size=SIZE, shortcut="tag", rho=1.0)
    for number in range(len(CLASSES)):
        means[number, :, :TAG, :TAG] = picture(settings, "train", number).pixels.transpose(2, 0, 1)[:, :TAG, :TAG]
    flat = means.reshape(len(CLASSES), -1)
    weights = {"w": flat.T, "bias": -0.5 * (flat**2).sum(axis=1), "shape": np.array([-1, flat.shape[1]])}
    nodes = [
        helper.make_node("Reshape", ["image", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tag",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(folder / "tag.onnx"))
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder / "tag.onnx"


def test_numbers_of_a_model_that_reads_the_tag(tmp_path: Path) -> None:
    model = tag_reader(tmp_path)
    options = ExportOptions(classes=tmp_path / "classes.txt", mean=(0, 0, 0), std=(1, 1, 1), crop_pct=1.0)
    artifact = export_artifact(f"onnx:{model}", tmp_path / "artifact", options)
    manifest = write_set(Synthetic(train=0, test=32, size=SIZE, shortcut="tag", rho=0.75, seed=1), tmp_path / "set")
    [found] = numbers(artifact, tmp_path / "set", 32, instruments(64, attention=False)).values()
    with manifest.open() as file:
        agrees = {split: [] for split in ("test", "test-broken")}
        for row in csv.DictReader(file):
            agrees[row["split"]].append(row["shortcut"] == row["label"])
    assert found["accuracy"] == pytest.approx(np.mean(agrees["test"]))
    assert found["accuracy_broken"] == pytest.approx(np.mean(agrees["test-broken"]))
    assert (found["worst_of_two"], found["worst_of_classes"]) == (0, 0)
    assert found["pt_swaps"] == found["pt_occlusion"] == found["pt_rise"] == 0
    assert found["share_swaps"] < 0.02
    assert found["gap"] == pytest.approx(-found["accuracy"], abs=0.1)
    assert found["pointing"] == found["top_k"] == 0
    assert found["mass"] < 0.2
    assert found["auc"] < 0.5
    assert found["deletion"] < found["insertion"]
    assert found["pt_attention"] is None
    assert found["forwards_rise"] == 65
    assert set(found) == {*METRICS, "forwards_swap", "forwards_rise", "forwards_occlusion"}


def table(encoders: int = 5) -> list[metrics.Row]:
    """Rows of four methods an encoder, by chance."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(encoders):
        for method in ("ZS", "LP", "FT", "FLCP"):
            share = rng.random()
            about = ("vit" if number % 2 else "resnet", "tag" if number < 3 else "scene", 0.5, number, method)
            truth = {"pictures": 300, "masks": 512, "right": 200, "true_share": share, "true_pt": share**2}
            noisy = round(share + rng.normal(0, 0.2), 1)  # has ties
            values = {
                "accuracy": rng.random(),
                "pt_swaps": noisy,
                "deletion": -share,
                "pt_rise_paper": 0.0,
                "pt_attention": None,
            }
            forwards = {"forwards_swap": 20.0, "forwards_rise": 513.0}
            rows.append(dict(zip(metrics.KEY, about, strict=True)) | truth | values | forwards)
    return rows


def test_ranks_are_those_of_scipy() -> None:
    rows = table()
    own = agreement("pt_swaps", rows)
    values, truth = ([row[name] for row in rows] for name in ("pt_swaps", "true_share"))
    assert own["spearman"][0] == pytest.approx(spearmanr(values, truth).statistic, abs=1e-3)
    assert own["kendall"][0] == pytest.approx(kendalltau(values, truth).statistic, abs=1e-3)
    assert own["spearman"][1] < own["spearman"][0] < own["spearman"][2]
    pairs = [
        1.0 if one["pt_swaps"] > other["pt_swaps"] else 0.5 if one["pt_swaps"] == other["pt_swaps"] else 0.0
        for one in rows
        for other in rows
        if one["true_share"] - other["true_share"] > APART
    ]
    assert own["pairs"] == len(pairs)
    assert own["pairs_right"][0] == pytest.approx(np.mean(pairs), abs=1e-3)


def test_intervals_are_over_encoders() -> None:
    rows = table(8)
    for row in rows:  # the four methods of an encoder are one
        first = next(one for one in rows if one["seed"] == row["seed"])
        row["true_share"], row["pt_swaps"] = first["true_share"], first["pt_swaps"]
    alone = [row for row in rows if row["method"] == "ZS"]
    many, few = (agreement("pt_swaps", some)["kendall"] for some in (rows, alone))
    assert many == pytest.approx(few, abs=1e-3)


def test_few_encoders_have_no_interval() -> None:
    assert agreement("pt_swaps", table(4))["spearman"][1:] == [None, None]
    assert None not in agreement("pt_swaps", table(5))["spearman"]


def test_what_the_graded_study_recorded_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_ranks, "DRAWS", 20)
    monkeypatch.setattr(sys, "argv", ["metrics", "--graded", "--results", str(tmp_path)])
    metrics.main()
    found = json.loads((tmp_path / "metrics_graded.json").read_text())["figures"]
    rows = {metrics.key(row): row for row in metrics.graded_rows("swap")}
    assert (found["models"], found["encoders"]) == (len(rows), len(rows) // 4)
    for row in metrics.read_rows(graded.TABLE):
        if (row["score"], row["instrument"]) == ("centred", "swap 8, covered, box"):
            model = rows[metrics.key(row | {"seed": 0})]
            assert model[row["instrument"]] == row["pt"]
            assert model["true_pt"] == pytest.approx(row["pt_true"], abs=0.005)  # of a picture more or less
    for kind in ("swaps", "maps"):
        assert {one["metric"][:4] for one in found[kind]} <= {"swap", "map ", "mean", "accu"}
        ranks = {one["metric"]: one["all"]["spearman"][0] for one in found[kind]}
        assert list(ranks.values()) == sorted(ranks.values(), reverse=True)
        assert found[kind][0]["behind"] == [0, 0, 0]


def test_a_number_is_added_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_ranks, "DRAWS", 200)
    rows = table()
    metrics.write_rows(tmp_path / "metrics.csv", rows)
    theirs = tmp_path / "theirs.csv"
    with theirs.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*metrics.KEY, "value"])
        writer.writeheader()
        writer.writerows({name: row[name] for name in metrics.KEY} | {"value": 3 * row["true_share"]} for row in rows)
    run = ["metrics", "--results", str(tmp_path), "--plot", str(tmp_path / "plot.svg"), "--add", f"ours={theirs}"]
    monkeypatch.setattr(sys, "argv", run)
    metrics.main()
    found = json.loads((tmp_path / "metrics.json").read_text())["figures"]
    by_name = {one["metric"]: one for one in found["metrics"]}
    assert (found["models"], found["encoders"]) == (20, 5)
    assert by_name["ours"]["all"]["spearman"] == [1, 1, 1]
    assert by_name["ours"]["forwards"] is None
    assert by_name["deletion"]["all"]["pairs_right"][0] == 1  # a small one is of a model that rests on the object
    assert by_name["deletion"]["forwards"] == 513 + 49
    assert by_name["pt_swaps"]["all"]["spearman"][0] > by_name["accuracy"]["all"]["spearman"][0]
    assert by_name["ours"]["resnet"]["models"] == 12
    assert ">ours<" in (tmp_path / "plot.svg").read_text()
    assert by_name["ours"]["behind"] == [0, 0, 0]
    assert found["metrics"][-1]["metric"] == "pt_rise_paper"  # which is 0 for every model
    assert by_name["pt_rise_paper"]["all"]["spearman"] is None
    assert "pt_attention" not in by_name  # no model has attention
    kept = metrics.merged(metrics.read_rows(tmp_path / "metrics.csv"), rows[:1])
    assert len(kept) == 20
    assert sum(row.get("ours") is not None for row in kept) == 19


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("accuracy", "tower,shortcut,rho,seed,method,value\n", "a name that the table does not use"),
        ("ours", "tower,shortcut,rho,method,value\nvit,tag,0.5,ZS,1\n", "lacks the columns seed"),
        ("ours", "tower,shortcut,rho,seed,method,value\nvit,tag,0.4,1,ZS,1\n", "which the table has not"),
        ("ours", "tower,shortcut,rho,seed,method,value\nvit,tag,0.5,1,ZS,much\n", "is no number"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    said: str,
) -> None:
    metrics.write_rows(tmp_path / "metrics.csv", table())
    (tmp_path / "theirs.csv").write_text(content)
    before = (tmp_path / "metrics.csv").read_bytes()
    run = ["metrics", "--results", str(tmp_path), "--add", f"{name}={tmp_path / 'theirs.csv'}"]
    monkeypatch.setattr(sys, "argv", run)
    with pytest.raises(SystemExit) as refusal:
        metrics.main()
    assert refusal.value.code == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_models_of_other_settings_do_not_join_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics.write_rows(tmp_path / "metrics.csv", table())  # of 300 pictures
    run = ["metrics", "--results", str(tmp_path), "--work", str(tmp_path / "work"), "--trained", "--pictures", "200"]
    monkeypatch.setattr(sys, "argv", run)
    with pytest.raises(SystemExit) as refusal:
        metrics.main()
    assert refusal.value.code == 2
    assert "(300, 512), got (200, 128)" in capsys.readouterr().err
