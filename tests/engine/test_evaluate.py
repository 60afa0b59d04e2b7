"""The whole engine on a function as model: what changes the work never changes a verdict."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from function_models import GEOMETRY, HEADS, SIZE, Interrupting, evaluate, job
from function_models import light as model

from rate.backends.fake import FakeSpec
from rate.data.manifest import read_manifest
from rate.engine import outcome as outcome_module
from rate.engine.verdicts.rows import row_from_verdict
from rate.engine.verdicts.verdict import Verdict
from rate.errors import RunError, TooManyErrors
from rate.kernels import reference
from rate.kernels.score import softmax
from rate.records import written
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.runs.store import RunStore
from rate.runs.summary.summarise import Summary, load_summary
from rate.types import Float32


def rows_of(folder: Path) -> dict[tuple[str, str], dict]:
    rows = read_rows(folder, read_run(folder)).to_pylist()
    found = {(row["id"], row["head"]): row for row in rows}
    assert len(found) == len(rows), "a sample was stored twice"
    return found


def test_every_head_and_sample_has_one_row_with_the_verdict_of_the_slow_computation(image_set, tmp_path: Path) -> None:
    """RMA from masks in pixel space, the model as it is, and plain sums."""
    from rate.data.images.prepare import prepare

    one = job(image_set(4))
    evaluate(one, FakeSpec(model), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert len(rows) == 8
    for sample in one.samples:
        prepared = prepare(sample, GEOMETRY)
        masks = one.method.draw(sample.id, 0, 40)
        full = reference.masks(one.method.perturbation, masks.grid, masks.offset)
        logits = model(prepared.picture.pixels[None] * full[:, None].astype(np.float32))
        clean, nothing = model(prepared.picture.pixels[None]), model(np.zeros((1, 3, SIZE, SIZE), np.float32))
        for head in HEADS:
            row, column = rows[sample.id, head.name], head.classes.index(sample.label)
            scores = logits[head.name][:, column].astype(np.float64)
            saliency = reference.rise_saliency(scores, full, one.method.share)
            shifted = (saliency - saliency.min()) / (saliency.max() - saliency.min())
            contrasts = reference.contributions(scores, full, masks.level, one.method.shares, one.method.side**2)
            whole = float(clean[head.name][0, column]) - float(nothing[head.name][0, column])
            positive = np.maximum(contrasts + whole / one.method.side**2, 0)
            assert row["rma_positive"] == pytest.approx(reference.relevance_mass(positive, prepared.region), abs=1e-5)
            assert row["rma_minmax"] == pytest.approx(reference.relevance_mass(shifted, prepared.region), abs=1e-5)
            assert row["prediction"] == head.classes[int(clean[head.name][0].argmax())]
            assert row["probability"] == pytest.approx(softmax(clean[head.name][0].astype(float)).max(), abs=1e-6)
            assert row["effect"] == pytest.approx(clean[head.name][0, column] - nothing[head.name][0, column], abs=1e-6)
            assert row["forwards"] == 41


@pytest.mark.parametrize(
    "changes", [{"batch": 1}, {"batch": 32}, {"batch": 41}, {"batch": 500}, {"threads": 1}, {"threads": 3}]
)
def test_batch_size_and_threads_change_nothing(image_set, tmp_path: Path, changes: dict[str, int]) -> None:
    manifest = image_set(5)
    evaluate(job(manifest), FakeSpec(model), tmp_path / "one")
    evaluate(job(manifest, **changes), FakeSpec(model), tmp_path / "two")
    assert_same_rows(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"))


@pytest.mark.parametrize("depth", [2, 4])
def test_batches_in_flight_change_nothing(image_set, tmp_path: Path, depth: int) -> None:
    manifest = image_set(5)
    evaluate(job(manifest), FakeSpec(model), tmp_path / "one")
    evaluate(job(manifest), FakeSpec(model, depth=depth), tmp_path / "two")
    assert_same_rows(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"))


def test_the_order_of_the_manifest_changes_nothing_and_the_key_stays(image_set, tmp_path: Path) -> None:
    manifest = image_set(6)
    first = job(manifest)
    evaluate(first, FakeSpec(model), tmp_path / "one")
    header, *lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *lines[::-1]]) + "\n")
    again = job(manifest)
    assert again.key("fake", "f32") == first.key("fake", "f32")
    evaluate(again, FakeSpec(model), tmp_path / "two")
    assert_same_rows(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"))


def assert_same_rows(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for key, row in one.items():
        for name, value in row.items():
            if isinstance(value, float):
                assert two[key][name] == pytest.approx(value, abs=1e-5), (key, name)
            elif name not in ("evidence_sketch",):  # f16 of values that may differ in the last bit
                assert two[key][name] == value, (key, name)


def test_a_sample_that_was_interrupted_between_its_heads_is_evaluated_again(
    image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(verdict: Verdict) -> dict:
        if verdict.prediction.head == HEADS[1].name:
            raise KeyboardInterrupt
        return row_from_verdict(verdict)

    one = job(image_set(4))
    monkeypatch.setattr(outcome_module, "row_from_verdict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(one, FakeSpec(model), tmp_path / "run")
    assert not rows_of(tmp_path / "run"), "the rows of one head alone are not stored"
    monkeypatch.undo()
    evaluate(one, FakeSpec(model), tmp_path / "run")
    assert len(rows_of(tmp_path / "run")) == 8


@pytest.mark.parametrize("at", [1, 2, 9, 20, 30])
def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_happened(image_set, tmp_path: Path, at: int) -> None:
    manifest = image_set(6)
    whole = evaluate(job(manifest), FakeSpec(model), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(job(manifest), FakeSpec(Interrupting(at)), tmp_path / "cut")
    assert read_run(tmp_path / "cut").status == "partial"
    settled = len(rows_of(tmp_path / "cut")) // 2
    assert settled >= (at - 2) * 8 // 41 - 1
    counted = Interrupting(-1)
    resumed = evaluate(job(manifest), FakeSpec(counted), tmp_path / "cut")
    assert counted.calls == 1 + -(-(6 - settled) * 41 // 8), "settled samples were computed again"
    assert_same_rows(rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut"))
    assert resumed.heads == whole.heads
    assert resumed.status == "complete"


def test_a_finished_run_is_not_computed_again(image_set, tmp_path: Path) -> None:
    manifest = image_set(3)
    first = evaluate(job(manifest), FakeSpec(model), tmp_path / "run")

    def never(x: Float32) -> dict[str, Float32]:
        raise AssertionError("a finished run was computed again")

    again = evaluate(job(manifest), FakeSpec(never), tmp_path / "run")
    assert again.heads == first.heads


def test_another_measurement_is_refused_and_named_before_any_work(image_set, tmp_path: Path) -> None:
    manifest = image_set(2)
    evaluate(job(manifest), FakeSpec(model), tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(RunError, match=r"measurement\.seed: 0 there, 1 now"):
        evaluate(job(manifest, seed=1), FakeSpec(model), tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    evaluate(job(manifest, batch=3), FakeSpec(model), tmp_path / "run")


def test_two_processes_cannot_write_one_run(image_set, tmp_path: Path) -> None:
    one = job(image_set(2))
    arguments = (tmp_path / "run", one.key("fake", "f32"), one.about("fake", "f32"), 50)
    with RunStore(*arguments), pytest.raises(RunError, match="written by another process"):
        RunStore(*arguments).__enter__()


def test_a_foreign_folder_is_refused(image_set, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        evaluate(job(image_set(2)), FakeSpec(model), tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_damaged_part_is_named(image_set, tmp_path: Path) -> None:
    evaluate(job(image_set(2)), FakeSpec(model), tmp_path / "run")
    [part] = (tmp_path / "run" / "samples").iterdir()
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(RunError, match=part.name):
        load_summary(tmp_path / "run")


def test_bad_samples_are_rows_and_the_rest_is_evaluated(image_set, tmp_path: Path) -> None:
    manifest = image_set(6)
    (manifest.parent / "0.png").write_bytes(b"")
    (manifest.parent / "1.png").unlink()
    (manifest.parent / "2.png").write_bytes((manifest.parent / "2.png").read_bytes()[:100])
    manifest.write_text(manifest.read_text().replace("s3,3.png,light", "s3,3.png,purple"))
    poisoned = read_manifest(manifest).samples[4]

    def fails_on_one(x: Float32) -> dict[str, Float32]:
        logits = model(x)
        logits["b"][np.isclose(x.std(axis=(1, 2, 3)), clean_spread(poisoned), rtol=1e-5)] = np.nan
        return logits

    summary = evaluate(job(manifest), FakeSpec(fails_on_one), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    errors = {sample: row["error"] for (sample, head), row in rows.items() if head == "a" and row["error"]}
    assert sorted(errors) == ["s0", "s1", "s2", "s3", "s4"]
    assert "'purple' is not a class" in errors["s3"]
    assert "not finite" in errors["s4"]
    assert rows["s5", "a"]["error"] is None
    assert summary.errors == 5
    assert summary.heads["a"].accuracy.denominator == 1


def clean_spread(sample) -> float:
    from rate.data.images.prepare import prepare

    return float(prepare(sample, GEOMETRY).picture.pixels.std())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_ends_as_soon_as_too_many_samples_fail(image_set, tmp_path: Path, workers: int) -> None:
    manifest, seen = image_set(40), []
    for k in range(5, 40, 2):
        (manifest.parent / f"{k}.png").write_bytes(b"no image")
    with pytest.raises(TooManyErrors) as caught:
        evaluate(job(manifest, workers=workers, max_errors=0.1), FakeSpec(model), tmp_path / "run", seen.append)
    assert seen[-1].errors > 4
    assert seen[-1].done < 40, "the others were not worth their time"
    for fact in (
        f"{seen[-1].errors} x ",
        "is not an image",
        "as sample 's",
        "4 are allowed",
        "--max-errors 0.1",
        "--repair",
    ):
        assert fact in str(caught.value)
    stored = rows_of(tmp_path / "run")
    assert len(stored) == 2 * seen[-1].done
    with pytest.raises(TooManyErrors, match="from earlier sessions"):
        evaluate(job(manifest, max_errors=0.1), FakeSpec(model), tmp_path / "run")
    whole = evaluate(job(manifest, max_errors=0.5), FakeSpec(model), tmp_path / "run")
    assert (whole.status, whole.errors) == ("complete", 18)
    assert {key: rows_of(tmp_path / "run")[key] for key in stored} == stored


def test_errors_that_are_allowed_end_nothing_and_all_of_them_never_are(image_set, tmp_path: Path) -> None:
    manifest = image_set(4)
    (manifest.parent / "1.png").write_bytes(b"")
    assert evaluate(job(manifest, max_errors=1.0), FakeSpec(model), tmp_path / "one").errors == 1
    for path in manifest.parent.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(TooManyErrors, match="4 of 4 samples failed, 3 are allowed"):
        evaluate(job(manifest, max_errors=1000.0), FakeSpec(model), tmp_path / "all")


def test_a_model_that_reads_one_square_puts_its_mass_there(image_set, tmp_path: Path) -> None:
    manifest = image_set(4)
    inside = [{**row, "boxes": [[0, 0, 20, 20]]} for row in plain_rows(manifest)]
    outside = [{**row, "boxes": [[20, 20, 40, 40]]} for row in plain_rows(manifest)]
    for name, rows in (("inside", inside), ("outside", outside)):
        path = manifest.parent / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        summary = evaluate(job(path, masks=400, save_maps=0), FakeSpec(model), tmp_path / name)
        counts = summary.heads["a"].counts
        assert counts.undefined == 0
        assert counts.rr + counts.wr == (4 if name == "inside" else 0)


def plain_rows(manifest: Path) -> list[dict[str, str]]:
    return [{"image": f"{k}.png", "label": ("dark", "light")[k % 2], "id": f"s{k}"} for k in range(4)]


def test_a_constant_model_has_no_evidence(image_set, tmp_path: Path) -> None:
    def constant(x: Float32) -> dict[str, Float32]:
        return {"a": np.full((len(x), 2), 3.0, np.float32), "b": np.full((len(x), 3), 1.0, np.float32)}

    summary = evaluate(job(image_set(3)), FakeSpec(constant), tmp_path / "run")
    assert summary.heads["a"].undefined_by == {"zero-evidence": 3}
    assert summary.heads["a"].pt.ratio.denominator == 0


def test_occlusion_and_the_paper_rule_run_through_the_same_engine(image_set, tmp_path: Path) -> None:
    one = job(image_set(3), saliency="occlusion", window=8, stride=4, evidence="minmax", valid="absolute")
    summary = evaluate(one, FakeSpec(model), tmp_path / "run")
    assert summary.heads["a"].forwards_mean == 1 + 49
    assert [(o.evidence, o.valid) for o in summary.heads["a"].also] == [
        ("positive", "midpoint"),
        ("positive", "absolute"),
    ]
    assert all(row["rma_se"] is None for row in rows_of(tmp_path / "run").values())


def test_probability_and_prediction_are_explained_when_asked(image_set, tmp_path: Path) -> None:
    evaluate(job(image_set(4), explain="prediction", score="probability"), FakeSpec(model), tmp_path / "run")
    for row in rows_of(tmp_path / "run").values():
        assert row["explained"] == row["prediction"]
        assert -1 <= row["effect"] <= 1


@pytest.mark.parametrize(("keep", "expected"), [(0, 0), (2, None), (None, 12)])
def test_maps_are_kept_per_head_and_quadrant_whatever_the_order(
    image_set, tmp_path: Path, keep: int | None, expected: int | None
) -> None:
    manifest = image_set(6)
    evaluate(job(manifest, save_maps=keep), FakeSpec(model), tmp_path / "run")
    path = tmp_path / "run" / "maps" / "maps.parquet"
    maps = pq.read_table(path).to_pylist() if path.exists() else []
    if expected is not None:
        assert len(maps) == expected
    per = [sum(m["head"] == h and m["quadrant"] == q for m in maps) for h in "ab" for q in ("rr", "rw", "wr", "ww")]
    assert keep is None or max(per) <= keep
    for one in maps:
        values = np.frombuffer(one["map"], np.float16).reshape(one["side"], one["side"])
        assert values.max() == 1.0
        assert values.min() >= 0.0
    assert not list((tmp_path / "run" / "maps").glob("part-*"))


def test_summary_says_what_the_rows_say(image_set, tmp_path: Path) -> None:
    summary = evaluate(job(image_set(9), masks=60), FakeSpec(model), tmp_path / "run")
    rows = [row for (_, head), row in rows_of(tmp_path / "run").items() if head == "b"]
    head: Summary = summary.heads["b"]
    defined = [row for row in rows if row["valid"] is not None]
    assert head.counts.rr == sum(row["correct"] and row["valid"] for row in defined)
    assert head.counts.wr == sum(not row["correct"] and row["valid"] for row in defined)
    midpoint = [row["rma_positive"] >= (row["floor"] + row["ceiling"]) / 2 for row in defined]
    assert [row["valid_midpoint"] for row in defined] == midpoint
    uniform = [row["area"] >= (row["floor"] + row["ceiling"]) / 2 for row in defined if row["correct"]]
    assert head.pt.uniform == pytest.approx(np.mean(uniform))
    assert set(head.groups) == {"g0", "g1", "g2"}
    assert {(row["group"], row["cluster"]) for row in rows} == {(f"g{k % 3}", f"c{k % 4}") for k in range(9)}
    assert sum(group.n for group in head.groups.values()) == 9
    stored = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert stored.pop("sha256")
    assert stored == json.loads(written(load_summary(tmp_path / "run").document))


def test_shuffled_is_each_map_against_other_regions(image_set, tmp_path: Path) -> None:
    """The coarse form that a run stores against whole maps and whole regions."""
    from rate.data.images.prepare import prepare

    one = job(image_set(8), masks=200, save_maps=None)
    summary = evaluate(one, FakeSpec(model), tmp_path / "run")
    rows = {sample: row for (sample, head), row in rows_of(tmp_path / "run").items() if head == "a"}
    assert all(row["valid"] is not None for row in rows.values())
    maps = pq.read_table(tmp_path / "run" / "maps" / "maps.parquet").to_pylist()
    whole = {
        m["id"]: np.frombuffer(m["map"], np.float16).reshape(32, 32).astype(float) for m in maps if m["head"] == "a"
    }
    regions = {sample.id: prepare(sample, GEOMETRY).region for sample in one.samples}
    ring = sorted(rows, key=lambda i: hashlib.blake2b(i.encode(), digest_size=8).digest())
    valid = []
    for shift in range(1, 8):
        for k, name in enumerate(ring):
            partner = ring[(k + shift) % 8]
            exact = whole[name][regions[partner]].sum() / whole[name].sum()
            sketch = np.frombuffer(rows[name]["evidence_sketch"], np.float16).astype(float)
            coarse = sketch @ np.frombuffer(rows[partner]["region_sketch"], np.uint8) / 255
            assert coarse == pytest.approx(exact, abs=0.02)
            if rows[name]["correct"]:
                valid.append(coarse >= (rows[partner]["floor"] + rows[partner]["ceiling"]) / 2)
    assert summary.heads["a"].pt.shuffled == pytest.approx(np.mean(valid))


def test_prefetch_stops_its_threads(image_set, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(job(image_set(6)), FakeSpec(Interrupting(3)), tmp_path / "run")
    for thread in threading.enumerate():
        if thread.name.startswith("rate-decode"):
            thread.join(timeout=5)
            assert not thread.is_alive()
