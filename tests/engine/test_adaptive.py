"""Verdicts that end when they are clear: the same whatever else is in flight, and those of a run of that length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from function_models import Interrupting, evaluate, job
from function_models import light as model

from rate.backends.fake import FakeSpec
from rate.errors import TooManyErrors
from rate.runs.summary.summarise import load_summary
from rate.types import Float32
from tests.engine.test_evaluate import assert_same_rows, rows_of

AUTO = {"masks": "auto", "min_masks": 16, "max_masks": 200}


def test_each_row_is_that_of_a_run_with_its_number_of_masks(image_set, tmp_path: Path) -> None:
    manifest = image_set(8)
    evaluate(job(manifest, **AUTO), FakeSpec(model), tmp_path / "auto")
    adaptive = rows_of(tmp_path / "auto")
    lengths = {row["forwards"] for row in adaptive.values()}
    assert len(lengths) > 1, "some verdicts are clear before others"
    for forwards in lengths:
        evaluate(job(manifest, masks=forwards - 1), FakeSpec(model), tmp_path / str(forwards))
        fixed = rows_of(tmp_path / str(forwards))
        for key, row in adaptive.items():
            if row["forwards"] == forwards:
                assert fixed[key]["rma_positive"] == pytest.approx(row["rma_positive"], abs=1e-6)
                assert fixed[key]["valid"] == row["valid"]
                assert row["settled"] in ("decided", "capped")


@pytest.mark.parametrize(
    ("changes", "depth"), [({"batch": 1}, 1), ({"batch": 7}, 3), ({"batch": 64}, 2), ({"batch": 300}, 1)]
)
def test_batch_size_and_batches_in_flight_change_nothing(
    image_set, tmp_path: Path, changes: dict[str, int], depth: int
) -> None:
    manifest = image_set(6)
    evaluate(job(manifest, **AUTO), FakeSpec(model), tmp_path / "one")
    evaluate(job(manifest, **AUTO, **changes), FakeSpec(model, depth=depth), tmp_path / "two")
    assert_same_rows(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"))


@pytest.mark.parametrize("at", [2, 9, 20])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(image_set, tmp_path: Path, at: int) -> None:
    manifest = image_set(6)
    whole = evaluate(job(manifest, **AUTO), FakeSpec(model), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(job(manifest, **AUTO), FakeSpec(Interrupting(at)), tmp_path / "cut")
    assert evaluate(job(manifest, **AUTO), FakeSpec(model), tmp_path / "cut").heads == whole.heads
    assert_same_rows(rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut"))


def test_a_model_that_sees_nothing_has_no_verdict_and_ends_early(image_set, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def blind(x: Float32) -> dict[str, Float32]:
        return {head: rng.normal(size=(len(x), classes)).astype(np.float32) for head, classes in (("a", 2), ("b", 3))}

    summary = evaluate(job(image_set(6), **AUTO), FakeSpec(blind), tmp_path / "run")
    rows = rows_of(tmp_path / "run").values()
    unseen = [row for row in rows if row["undefined_reason"] == "no-evidence"]
    assert len(unseen) >= 0.75 * len(rows)
    assert {row["settled"] for row in unseen} <= {"capped", "decided"}
    assert np.mean([row["forwards"] for row in unseen]) < 150
    assert load_summary(tmp_path / "run").heads == summary.heads


def test_a_constant_model_ends_at_the_first_look(image_set, tmp_path: Path) -> None:
    def constant(x: Float32) -> dict[str, Float32]:
        return {head: np.full((len(x), classes), 0.3, np.float32) for head, classes in (("a", 2), ("b", 3))}

    evaluate(job(image_set(4), **AUTO), FakeSpec(constant), tmp_path / "run")
    rows = rows_of(tmp_path / "run").values()
    assert {(row["undefined_reason"], row["forwards"]) for row in rows} <= {("no-evidence", 17), ("zero-evidence", 17)}


def test_batches_stay_full_to_the_end(image_set, tmp_path: Path) -> None:
    sizes = []

    def counted(x: Float32) -> dict[str, Float32]:
        sizes.append(len(x))
        return model(x)

    summary = evaluate(job(image_set(30), **AUTO), FakeSpec(counted, depth=3), tmp_path / "run")
    assert set(sizes[1:-1]) == {8}
    spent = sum(
        max(row["forwards"] for key, row in rows_of(tmp_path / "run").items() if key[0] == sample)
        for sample in {key[0] for key in rows_of(tmp_path / "run")}
    )
    assert sum(sizes[1:]) - spent <= 3 * 8 + 7 * 8, "what is computed ahead is a few batches at the end"
    assert summary.throughput.batch_fill == pytest.approx(spent / (sum(sizes[1:])))
    assert summary.throughput.batch_fill >= 0.97


@pytest.mark.parametrize("batch", [32, 65, 256])
def test_what_lies_beyond_the_deciding_look_cannot_break_a_sample(image_set, tmp_path: Path, batch: int) -> None:
    """Rows are computed ahead to keep batches full; how many depends on the batch, the verdict must not."""
    manifest = image_set(1)
    measured = {"masks": "auto", "min_masks": 32, "max_masks": 200, "batch": batch}

    class BreaksLater:
        """One sample alone: row 0 is nothing, row 1 the image, then its masks."""

        def __init__(self, after: int) -> None:
            self.seen, self.after = -1, after

        def __call__(self, x: Float32) -> dict[str, Float32]:
            logits = model(x)
            numbers = np.arange(self.seen, self.seen + len(x))
            self.seen += 1 if self.seen < 0 else len(x)
            for values in logits.values():
                values[numbers > self.after] = np.nan
            return logits

    evaluate(job(manifest, **measured), FakeSpec(model), tmp_path / "sound")
    spent = max(row["forwards"] for row in rows_of(tmp_path / "sound").values()) - 1
    assert spent < 200
    evaluate(job(manifest, **measured), FakeSpec(BreaksLater(spent)), tmp_path / "run")
    assert_same_rows(rows_of(tmp_path / "sound"), rows_of(tmp_path / "run"))
    with pytest.raises(TooManyErrors, match="not finite"):
        evaluate(job(manifest, **measured), FakeSpec(BreaksLater(spent - 1)), tmp_path / "broken")


def test_other_rules_are_not_read_off_masks_that_ended_for_this_one(image_set, tmp_path: Path) -> None:
    summary = evaluate(job(image_set(4), **AUTO), FakeSpec(model), tmp_path / "run")
    assert summary.heads["a"].also == ()
    assert summary.heads["a"].sweep == ()
