"""Maps of other tools are judged as those of a run, and their relevance masses are those of other authors' code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import save_file

import rate
from rate.cli.main import run
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError, RunError, TooManyErrors, UsageError
from rate.report.schemas import all_schemas
from rate.runs.run_document import read_run
from rate.types import Float32, Float64, Json
from tests.conftest import Tiny, write_images

SIDE = 32


def rows_of(summary: Any) -> dict[str, Json]:
    return {row["id"]: row for row in summary.rows().to_pylist()}


def saved_maps(folder: Path) -> dict[str, Float64]:
    saved = pq.read_table(folder / "maps" / "maps.parquet").to_pylist()
    return {one["id"]: np.frombuffer(one["map"], np.float16).reshape(one["side"], -1).astype(float) for one in saved}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of 40 x 40 to 40 x 51 pixels, with a prediction each, of which every fifth is wrong."""
    manifest = write_images(tmp_path_factory.mktemp("judged") / "set", 12, 40)
    header, *lines = manifest.read_text().splitlines()
    other = {"dark": "light", "light": "dark"}
    labels = [line.split(",")[2] for line in lines]
    predicted = [other[label] if k % 5 == 4 else label for k, label in enumerate(labels)]
    table = [f"{line},{name}" for line, name in zip(lines, predicted, strict=True)]
    manifest.write_text("\n".join([f"{header},Predicted", *table]) + "\n")
    return manifest


@pytest.fixture(scope="module")
def maps(images: Path) -> dict[str, Float64]:
    """Of every image as it is, with values of either sign."""
    rng, made = np.random.default_rng(0), {}
    for k, sample in enumerate(read_manifest(images).samples):
        with Image.open(sample.image) as image:
            width, height = image.size
        noise = rng.normal(0, 1, (height, width))
        noise[: height // 2, : width // 2] += (k % 3) * 0.8
        made[sample.id] = noise
    return made


@pytest.mark.parametrize(
    ("settings", "judged_as"),
    [
        ({"saliency": "occlusion"}, {"blur": "window:5:2"}),
        ({"saliency": "rise", "masks": 64, "grid": 4}, {"blur": "rise:4"}),
        ({"saliency": "attention"}, {"evidence": "minmax"}),
    ],
    ids=lambda one: " ".join(map(str, one.values())),
)
def test_the_saved_maps_of_a_run_give_its_own_numbers(
    tiny_vit: Tiny, tmp_path: Path, settings: dict[str, Any], judged_as: dict[str, Any]
) -> None:
    """A saved map is rounded to half precision, 2^-11 of each value, and its mass by no more than that."""
    execution = {"save_maps": None, "threads": 1, "precision": "f32"}
    own = rate.evaluate(tiny_vit.artifact, tiny_vit.manifest, tmp_path / "own", **execution, **settings)
    again = rate.judge(
        saved_maps(tmp_path / "own"),
        tiny_vit.manifest,
        tmp_path / "again",
        artifact=tiny_vit.artifact,
        **execution,
        **judged_as,
    )
    before, after = rows_of(own), rows_of(again)
    judged = [name for name, row in before.items() if row["undefined_reason"] != "no-evidence"]
    assert len(judged) >= 3
    assert before.keys() == after.keys()
    kind = "rma_minmax" if "evidence" in judged_as else "rma_positive"
    for name in judged:
        one, two = before[name], after[name]
        assert two[kind] == pytest.approx(one[kind], abs=2**-11)
        assert (two["ceiling"], two["floor"]) == ((one["ceiling"], one["floor"]) if "blur" in judged_as else (1.0, 0.0))
        for column in ("prediction", "correct", "explained", "valid", "valid_absolute", "undefined_reason", "area"):
            assert two[column] == one[column], column
        assert two["probability"] == pytest.approx(one["probability"], abs=1e-5)
        assert (two["forwards"], two["effect"]) == (1, None)
    if len(judged) == len(before):
        head = {which: summary.heads["zs"] for which, summary in (("own", own), ("again", again))}
        for metric in ("pt", "ir"):
            assert getattr(head["own"], metric).ratio == getattr(head["again"], metric).ratio
            assert getattr(head["own"], metric).uniform == getattr(head["again"], metric).uniform
        assert head["own"].counts == head["again"].counts
    assert own.heads["zs"].accuracy == again.heads["zs"].accuracy
    assert read_run(tmp_path / "again").identity.weights == read_run(tmp_path / "own").identity.weights


def test_maps_of_captum_have_the_masses_that_quantus_gives_them(images: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the two import
        import quantus
        from captum.attr import IntegratedGradients, Occlusion

        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 5, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2)
        ).eval()
        geometry = Geometry(SIDE, SIDE, (0.0,) * 3, (1.0,) * 3)
        samples = [prepare(sample, geometry) for sample in read_manifest(images).samples]
        pixels = torch.from_numpy(np.stack([one.picture.pixels for one in samples]))
        targets = [("dark", "light").index(one.sample.label) for one in samples]
        model(pixels)
        attributed = {
            "gradients": IntegratedGradients(model).attribute(pixels, target=targets, n_steps=8),
            "occlusion": Occlusion(model).attribute(pixels, (3, 8, 8), strides=(3, 4, 4), target=targets),
        }
        metric = quantus.RelevanceMassAccuracy(abs=False, normalise=False, disable_warnings=True)
        for name, channels in attributed.items():
            values = channels.double().sum(dim=1).numpy()
            theirs = metric(
                model=None,
                x_batch=pixels.numpy(),
                y_batch=np.array(targets),
                a_batch=np.maximum(values, 0)[:, None],
                s_batch=np.stack([one.region for one in samples])[:, None],
            )
            given = {one.sample.id: own.detach() for one, own in zip(samples, channels, strict=True)}
            summary = rate.judge(given, images, tmp_path / name, crop="center", size=SIDE)
            ours = [rows_of(summary)[one.sample.id]["rma_positive"] for one in samples]
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
            right = sum(row["correct"] for row in rows_of(summary).values())
            assert summary.heads["maps"].accuracy.numerator == right == 10
            valid = [mass >= 0.5 for mass in theirs]
            both = sum(valid[k] and k % 5 != 4 for k in range(12))
            assert (summary.heads["maps"].pt.ratio.numerator, summary.heads["maps"].pt.ratio.denominator) == (both, 10)
            assert summary.heads["maps"].ir.ratio.denominator == sum(valid)


def _files(folder: Path, maps: dict[str, Float64]) -> None:
    for name, values in maps.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", values)


def _mixed(folder: Path, maps: dict[str, Float64]) -> None:
    folder.mkdir()
    names = sorted(maps, reverse=True)
    np.savez_compressed(folder / "first.npz", **{name: maps[name] for name in names[:5]})
    save_file({name: maps[name] for name in names[5:9]}, folder / "z.safetensors")
    _files(folder / ".." / folder.name, {name: maps[name][None] for name in names[9:]})


def test_neither_files_nor_their_order_change_anything(images: Path, maps: dict[str, Float64], tmp_path: Path) -> None:
    _files(tmp_path / "files", maps)
    _mixed(tmp_path / "mixed", maps)
    first = rate.judge(tmp_path / "files", images, tmp_path / "a")
    turned = tmp_path / "turned.csv"
    header, *lines = images.read_text().splitlines()
    turned.write_text("\n".join([header, *lines[::-1]]) + "\n")
    others = {
        "mixed": rate.judge(tmp_path / "mixed", images, tmp_path / "b", batch=3),
        "memory": rate.judge(dict(reversed(maps.items())), images, tmp_path / "c", batch=5),
        "order": rate.judge(maps, turned, tmp_path / "d", root=[str(images.parent)]),
        "function": rate.judge(lambda name, pixels, explained: maps[name], images, tmp_path / "e"),
    }
    for name, other in others.items():
        assert rows_of(other) == rows_of(first), name
        assert other.heads["maps"].pt == first.heads["maps"].pt
    keys = [read_run(tmp_path / one).key for one in "abc"]
    assert len(set(keys)) == 1, "the key holds the values of the maps"
    assert read_run(tmp_path / "e").identity.maps is None


def test_its_files_follow_the_schemas_and_every_command_takes_it(
    images: Path, maps: dict[str, Float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _files(tmp_path / "cam", maps)
    out, other = str(tmp_path / "run"), str(tmp_path / "other")
    arguments = ["judge", str(tmp_path / "cam"), str(images), "--head", "cam"]
    assert run([*arguments, "--out", out]) == 0
    assert "given, maps of another tool; evidence of the label; positive evidence, valid from absolute" in (
        capsys.readouterr().out
    )
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    for name in ("run", "summary"):
        jsonschema.validate(json.loads((tmp_path / "run" / f"{name}.json").read_text()), all_schemas()[name])
    assert (document["origin"]["maps"], document["origin"]["artifact"]) == (str(tmp_path / "cam"), None)
    assert (
        run(["judge", str(tmp_path / "cam"), str(images), "--head", "cam", "--blur", "gaussian:9", "--out", other]) == 0
    )
    assert "midpoint" in capsys.readouterr().out
    assert run(["agree", f"{out}@cam", other]) == 0
    assert run(["compare", out, out, "--json"]) == 0
    assert run(["compare", out, other]) == 2, "another rule"
    assert run(["show", out, "--samples", "invalid"]) == 0
    (tmp_path / "gate.toml").write_text('[[check]]\nmetric = "accuracy"\nmin = 0.1\n')
    assert run(["gate", out, "--policy", str(tmp_path / "gate.toml")]) == 0
    assert run(["report", out, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Maps of another tool (as they were given) of the labelled class" in page
    summary = rate.load_run(out).heads["cam"]
    assert summary.pt.shuffled is not None
    assert summary.pt.uniform == 0.0, "a quarter of the image is less than a half of it"
    assert [(one.evidence, one.valid) for one in summary.also] == [("minmax", "absolute")]


def test_a_map_without_a_meaning_is_undefined_by_name(images: Path, maps: dict[str, Float64], tmp_path: Path) -> None:
    first = maps["s0"]
    changes = {
        "s0": (np.where(first == first.max(), np.nan, first), "nan-map"),
        "s1": (np.where(maps["s1"] < 0, np.inf, maps["s1"]), "nan-map"),
        "s2": (np.full_like(maps["s2"], 0.25), "constant-map"),
        "s3": (-np.abs(maps["s3"]) - 1, "zero-evidence"),
        "s4": (np.zeros_like(maps["s4"]), "zero-evidence"),
        "s5": (maps["s5"] * 1e307, None),
    }
    summary = rate.judge(maps | {name: changed for name, (changed, _) in changes.items()}, images, tmp_path / "a")
    rows = rows_of(summary)
    assert {name: rows[name]["undefined_reason"] for name in changes} == {
        name: reason for name, (_, reason) in changes.items()
    }
    assert summary.heads["maps"].undefined_by == {"constant-map": 1, "nan-map": 2, "zero-evidence": 2}
    assert summary.heads["maps"].counts.errors == 0
    whole = rate.judge(maps, images, tmp_path / "b")
    assert rows["s5"] == rows_of(whole)["s5"], "a scale changes nothing"
    published = rate.judge(maps | {"s2": changes["s2"][0]}, images, evidence="minmax")
    assert published.heads["maps"].undefined_by == {"nan-map": 1}, "the paper's own word"


def test_samples_without_maps_fail_and_maps_without_samples_are_told(
    images: Path, maps: dict[str, Float64], tmp_path: Path
) -> None:
    given = {name: values for name, values in maps.items() if name != "s2"} | {"stray": np.eye(3)}
    given["s7"] = given["s7"].T
    given["s8"] = np.zeros((4, 5, 6, 7))
    with pytest.raises(TooManyErrors, match=r"3 of 12 samples failed"):
        rate.judge(given, images, tmp_path / "run")
    summary = rate.judge(given, images, tmp_path / "run", max_errors=3)
    errors = {name: row["error"] for name, row in rows_of(summary).items() if row["error"]}
    assert errors.keys() == {"s2", "s7", "s8"}
    assert "has no map of sample 's2'" in errors["s2"]
    assert "is 40 x 47, and the upright image is 47 x 40: it is that of the image on its side" in errors["s7"]
    assert "has the shape [4, 5, 6, 7], expected a value a pixel" in errors["s8"]
    assert summary.notices == (
        "the mapping has no map for 1 of 12 samples, such as 's2'",
        "1 of 12 maps are of no sample that is judged, such as 'stray'",
    )
    mended = rate.judge(given | {"s2": maps["s2"]}, images, tmp_path / "mended", max_errors=2)
    assert mended.heads["maps"].counts.errors == 2


def test_maps_that_cannot_be_those_of_the_images_are_refused_before_a_run(
    images: Path, maps: dict[str, Float64], tmp_path: Path
) -> None:
    square = {name: np.eye(224) for name in maps}
    with pytest.raises(DataError, match=r"of the first 8 maps cannot be .* needs --crop center or squash"):
        rate.judge(square, images, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for crop in ("squash", "center"):
        assert rate.judge(square, images, crop=crop).heads["maps"].counts.errors == 0
    with pytest.raises(DataError, match="is square; --crop whole"):
        rate.judge(maps, images, tmp_path / "run", crop="center")
    with pytest.raises(DataError, match=r"none of the 1 maps of the mapping, such as '7', has the id of a sample"):
        rate.judge({"7": np.eye(3)}, images)


def test_an_artifact_says_what_is_covered_and_a_table_what_is_predicted(
    tiny_vit: Tiny, images: Path, maps: dict[str, Float64], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--size: the artifact says what its maps cover"):
        rate.judge(maps, images, artifact=tiny_vit.artifact, size=224)
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps({"id": name, "pred": "light"}) + "\n" for name in list(maps)[:-1]))
    with pytest.raises(UsageError, match="both predict"):
        rate.judge(maps, images, artifact=tiny_vit.artifact, predictions=table)
    summary = rate.judge(maps, images, predictions=table, max_errors=1)
    assert (summary.heads["maps"].accuracy.numerator, summary.heads["maps"].accuracy.denominator) == (5, 11)
    [failure] = summary.heads["maps"].failures
    assert failure.message == f"{table} has no prediction of sample 's11'"


def test_a_function_sees_what_the_model_sees(tiny_vit: Tiny) -> None:
    seen: dict[str, tuple[tuple[int, ...], str]] = {}

    def explain(name: str, pixels: Float32, explained: str) -> Float32 | None:
        seen[name] = pixels.shape, explained
        return None if name == "s1" else np.abs(pixels)

    summary = rate.judge(explain, tiny_vit.manifest, artifact=tiny_vit.artifact, max_errors=1, threads=1)
    labels = {sample.id: sample.label for sample in read_manifest(tiny_vit.manifest).samples}
    assert seen == {name: ((3, SIDE, SIDE), label) for name, label in labels.items()}
    assert summary.heads["zs"].counts.errors == 1
    assert "the function made no map of sample 's1'" in summary.heads["zs"].failures[0].message


KILLED = """
import os, signal, sys
import numpy as np
import rate
from rate.runs import store
write = store.write_part
def written(*arguments):
    part = write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
store.write_part = written
rate.judge(sys.argv[1], sys.argv[2], sys.argv[3])
"""


def test_a_killed_run_goes_on_and_other_maps_are_refused(
    images: Path, maps: dict[str, Float64], tmp_path: Path
) -> None:
    np.savez(tmp_path / "maps.npz", **maps)
    whole = rate.judge(tmp_path / "maps.npz", images, tmp_path / "whole")
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "maps.npz"), str(images), str(tmp_path / "run")]
    done = subprocess.run(arguments, check=False, capture_output=True, env=dict(os.environ))
    assert done.returncode == -9, done.stderr
    with pytest.raises(RunError, match=r"identity\.maps: [0-9a-f]{12}\.\.\. there"):
        rate.judge({name: values + 1 for name, values in maps.items()}, images, tmp_path / "run")
    resumed = rate.judge(tmp_path / "maps.npz", images, tmp_path / "run")
    assert rows_of(resumed) == rows_of(whole)
    assert resumed.status == "complete"


def test_shards_are_merged_to_the_run_of_all_maps_and_are_the_only_way_to_divide_it(
    images: Path, maps: dict[str, Float64], tmp_path: Path
) -> None:
    np.savez(tmp_path / "maps.npz", **maps)
    whole = rate.judge(maps, images, tmp_path / "whole")
    command = ["judge", str(tmp_path / "maps.npz"), str(images)]
    for part in (1, 2):
        assert run([*command, "--shard", f"{part}/2", "--out", str(tmp_path / f"part-{part}")]) == 0
    assert run(["merge", str(tmp_path / "part-1"), str(tmp_path / "part-2"), "--out", str(tmp_path / "merged")]) == 0
    assert rows_of(rate.load_run(tmp_path / "merged")) == rows_of(whole)
    assert read_run(tmp_path / "merged").key == read_run(tmp_path / "whole").key
    with pytest.raises(ConfigError, match="maps are judged in one process; leave --workers and --runner out"):
        rate.judge(maps, images, workers=2)
