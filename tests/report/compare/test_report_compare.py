"""Two heads held against each other by id: counts by hand, and what may be said about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from paired_runs import write_run
from report_runs import GEOMETRY
from rich.console import Console

import rate
from rate.errors import RunError, UsageError
from rate.records import plain, schema_of, written
from rate.report.compare.compare import compare, pair, signed
from rate.report.compare.document import ComparisonDocument
from rate.report.compare.table import comparison_table, p_value
from rate.report.heads import load_head
from rate.statistics.intervals import MIN_CLUSTERS
from rate.statistics.metrics import STATES, Ratio
from rate.statistics.paired import mcnemar

SCHEMA = schema_of(ComparisonDocument)
FIRST = ["rr", "rr", "rw", "wr", "ww", "undefined_right", "error", "rr"]
SECOND = ["rr", "rw", "rw", "rr", "rr", "ww", "rr", "error"]


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Writes runs "one" and "two" of one head each."""

    def make(first: list[str], second: list[str], first_run: dict | None = None, second_run: dict | None = None):
        one = write_run(tmp_path / "one", {"a": first}, **(first_run or {}))
        other = write_run(tmp_path / "two", {"a": second}, **(second_run or {}))
        return str(one), str(other)

    return make


def drawn(n: int, shares: list[float], seed: int = 0) -> list[str]:
    return [str(state) for state in np.random.default_rng(seed).choice(STATES[:4], n, p=shares)]


def text_of(comparison, changed: int = 10) -> str:
    console = Console(width=200, highlight=False, record=True, file=StringIO())
    console.print(comparison_table(comparison, changed))
    return console.export_text()


def test_clean_and_corrupted_images_are_compared_with_a_notice(two) -> None:
    found = compare(two(FIRST, SECOND, second_run={"measurement": {"corrupt": "fog:3"}, "weights": "one"}))
    assert found.pairs[0].differences["pt"].first == Ratio(3, 4)
    assert found.notices == (
        "one@a has clean images, and two@a has images under fog:3: a difference may come from the images",
    )


def test_counts_by_hand(two) -> None:
    found = compare(two(FIRST, SECOND)).pairs[0]
    assert found.paired == 8
    assert found.unpaired == (0, 0)
    assert (found.differences["accuracy"].first, found.differences["accuracy"].second) == (Ratio(5, 7), Ratio(6, 7))
    assert (found.differences["pt"].first, found.differences["pt"].second) == (Ratio(3, 4), Ratio(4, 6))
    assert (found.differences["ir"].first, found.differences["ir"].second) == (Ratio(3, 4), Ratio(4, 4))
    accuracy, validity = found.mcnemar["accuracy"], found.mcnemar["validity"]
    assert (accuracy.only_first, accuracy.only_second) == (1, 2)  # s005 | s003 s004; errors on either side are no pair
    assert (validity.only_first, validity.only_second) == (1, 1)  # s001 | s004
    assert accuracy.p == validity.p == 1.0
    assert [(c.id, c.before, c.after) for c in found.changed] == [
        ("s001", "rr", "rw"),
        ("s003", "wr", "rr"),
        ("s004", "ww", "rr"),
        ("s005", "undefined_right", "ww"),
        ("s006", "error", "rr"),
        ("s007", "rr", "error"),
    ]
    assert found.moves.sum() == 8
    assert found.moves[STATES.index("undefined_right"), STATES.index("ww")] == 1


def test_samples_are_joined_by_id_not_by_position(two) -> None:
    ids = [f"s{k:03d}" for k in range(8)]
    whole = two(FIRST, SECOND[::-1], None, {"ids": ids[::-1]})
    found = compare(whole).pairs[0]
    assert [c.id for c in found.changed] == ["s001", "s003", "s004", "s005", "s006", "s007"]


def test_ids_that_one_lacks_are_left_out_and_counted(two) -> None:
    references = two(FIRST, SECOND[:5], None, {"status": "partial", "ids": ["s000", "s001", "s002", "s003", "extra"]})
    comparison = compare(references)
    found = comparison.pairs[0]
    assert (found.paired, found.unpaired) == (4, (4, 1))
    assert found.differences["accuracy"].first == Ratio(3, 4)
    said = "\n".join(comparison.notices)
    assert "4 samples that two@a lacks are left out" in said
    assert "1 samples that one@a lacks are left out" in said
    assert "two is partial" in said


def test_runs_without_a_common_sample_are_refused(two) -> None:
    with pytest.raises(RunError, match="have no sample in common"):
        compare(two(["rr"], ["rr"], None, {"ids": ["other"], "status": "running"}))


def test_the_joint_states_of_every_kind_are_read_from_the_rows(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", {"a": [s for s in STATES for _ in STATES], "b": list(STATES) * 7})
    found = compare([str(one)]).pairs[0]
    assert (found.moves == 1).all()


def test_a_run_of_two_heads_is_compared_with_itself(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"zs": FIRST, "lp": SECOND, "ft": FIRST})
    comparison = compare([str(folder)])
    assert [pair.titles for pair in comparison.pairs] == [("run@zs", "run@lp"), ("run@zs", "run@ft")]
    assert comparison.pairs[1].changed == ()
    assert "not for all 2 at once" in comparison.caveat
    assert comparison.caveat in text_of(comparison)
    assert compare([str(folder)], baseline=f"{folder}@zs").caveat == comparison.caveat
    assert not any("same weights" in text for text in comparison.notices)


def test_a_named_baseline_goes_first_and_is_not_compared_with_itself(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"zs": FIRST, "lp": SECOND, "ft": FIRST})
    comparison = compare([str(folder)], baseline=f"{folder}@lp")
    assert [pair.titles for pair in comparison.pairs] == [("run@lp", "run@zs"), ("run@lp", "run@ft")]
    with pytest.raises(UsageError, match="has 3 heads and one is needed"):
        compare([str(folder)], baseline=str(folder))


def test_fewer_than_two_heads_are_no_comparison(tmp_path: Path) -> None:
    folder = str(write_run(tmp_path / "run", {"zs": FIRST}))
    with pytest.raises(UsageError, match=r"needs two heads or more, .* names run@zs alone"):
        compare([folder])
    with pytest.raises(UsageError, match="needs two heads"):
        compare([])
    with pytest.raises(UsageError, match="needs two heads"):
        compare([folder], baseline=folder)


def test_runs_that_measured_different_things_are_refused(two) -> None:
    one, other = two(FIRST, SECOND, None, {"measurement": {"tau": 0.4}})
    with pytest.raises(RunError, match=r"measurement\.tau"):
        compare([one, other])
    with pytest.raises(RunError, match=r"measurement\.tau"):
        pair(load_head(one), load_head(other))


def test_what_is_not_the_model_but_differs_is_said(two) -> None:
    changed = {"precision": "bf16", "backend": "tensorrt", "pixel_path": "torchvision", "geometry": plain(GEOMETRY)}
    notices = compare(two(FIRST, SECOND, None, changed)).notices
    for name in changed:
        assert any(text.startswith(f"{name} differs") for text in notices), name


@pytest.mark.parametrize("status", ["partial", "failed", "running"])
def test_a_run_that_is_not_complete_is_compared_and_said(two, status: str) -> None:
    references = two(FIRST, SECOND, {"status": status})
    notices = compare(references).notices
    assert sum(f"one is {status}" in text for text in notices) == 1
    assert not any("two is" in text for text in notices)


def test_the_same_model_twice_is_said(two) -> None:
    one, other = two(FIRST, FIRST, {"weights": "w"}, {"weights": "w"})
    assert any("the same weights" in text for text in compare([one, other]).notices)
    itself = compare([one, one])
    assert any("compared with itself" in text for text in itself.notices)
    for found in itself.pairs[0].differences.values():
        assert found.value == 0
        assert found.low <= 0 <= found.high


def test_folders_of_one_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    one = write_run(tmp_path / "x" / "run", {"a": FIRST}, weights="1")
    other = write_run(tmp_path / "y" / "run", {"a": SECOND}, weights="2")
    assert compare([str(one), str(other)]).pairs[0].titles == (f"{one}@a", f"{other}@a")


def test_clusters_are_the_units_and_samples_without_one_stand_alone(two) -> None:
    n = 200
    first, second = drawn(n, [0.5, 0.2, 0.1, 0.2]), drawn(n, [0.5, 0.2, 0.1, 0.2], 1)
    clusters: list[str | None] = [f"c{k % 30}" if k < 150 else None for k in range(n)]
    references = two(first, second, {"clusters": clusters}, {"clusters": clusters})
    comparison = compare(references)
    found = comparison.pairs[0]
    assert (found.units.name, found.units.clusters) == ("clusters", 30 + 50)
    assert {d.method for d in found.differences.values()} == {"cluster-bootstrap"}
    assert "over 80 clusters" in text_of(comparison)
    plain = compare(references, by_cluster=False)
    assert (plain.pairs[0].units.name, plain.pairs[0].units.clusters) == ("samples", None)
    assert {d.method for d in plain.pairs[0].differences.values()} == {"bootstrap"}
    assert "over samples (no clusters)" in text_of(plain)


def test_samples_of_a_cluster_that_move_together_widen_the_interval(two) -> None:
    n, size = 400, 20
    moved = np.repeat(np.random.default_rng(0).random(n // size) < 0.3, size)
    second = np.where(moved, "rw", drawn(n, [0.8, 0.2, 0, 0])).tolist()
    first = drawn(n, [0.8, 0.2, 0, 0])
    clusters = [f"c{k // size}" for k in range(n)]
    references = two(first, second, {"clusters": clusters}, {"clusters": clusters})
    by_cluster, by_sample = (compare(references, by_cluster=way).pairs[0].differences["pt"] for way in (True, False))
    assert by_cluster.value == by_sample.value
    assert by_cluster.high - by_cluster.low > 1.5 * (by_sample.high - by_sample.low)


def test_mcnemars_test_takes_each_cluster_as_one_observation(two) -> None:
    """Twelve clusters of ten samples, nine of which lose all and three of which win all."""
    first = ["rr"] * 90 + ["ww"] * 30
    second = ["ww"] * 90 + ["rr"] * 30
    clusters = {"clusters": [f"c{k // 10}" for k in range(120)]}
    references = two(first, second, clusters, clusters)
    by_cluster, by_sample = (compare(references, by_cluster=way).pairs[0] for way in (True, False))
    for name in ("accuracy", "validity"):
        one, other = by_cluster.mcnemar[name], by_sample.mcnemar[name]
        assert (one.only_first, one.only_second) == (other.only_first, other.only_second) == (90, 30)
        assert one.p == pytest.approx(mcnemar(9, 3), abs=1e-12)
        assert other.p == mcnemar(90, 30)
    assert "McNemar over clusters p 0.15" in text_of(compare(references))


def test_of_too_few_clusters_samples_are_the_units_and_every_output_says_so(two) -> None:
    n = 90
    clusters = [f"c{k % (MIN_CLUSTERS - 1)}" for k in range(n)]
    states = drawn(n, [0.5, 0.2, 0.1, 0.2])
    references = two(states, ["rr"] * n, {"clusters": clusters}, {"clusters": clusters})
    comparison = compare(references)
    assert comparison.pairs[0].differences == compare(references, by_cluster=False).pairs[0].differences
    said = f"over samples ({MIN_CLUSTERS - 1} clusters, fewer than {MIN_CLUSTERS})"
    assert any(said in text for text in comparison.notices)
    assert said in text_of(comparison)
    [pair] = plain(comparison.document)["pairs"]
    assert (pair["units"], pair["clusters"]) == ("samples", MIN_CLUSTERS - 1)


def test_a_fall_a_rise_and_neither_are_said_in_words(two) -> None:
    n = 400
    first = ["rr"] * 300 + ["ww"] * 100
    second = ["rr"] * 200 + ["rw"] * 100 + ["ww"] * 80 + ["wr"] * 20
    accuracy, pt, ir, _ = compare(two(first, second)).pairs[0].conclusions
    assert len(first) == len(second) == n
    assert accuracy.startswith("accuracy: no difference can be claimed; +0.000 [")
    assert accuracy.endswith("includes 0")
    assert pt.startswith("PT fell by 0.333 [-0.")
    assert pt.endswith("; the interval excludes 0")
    assert ir.startswith("IR fell by 0.091")


def test_a_rise_is_said(two) -> None:
    conclusions = compare(two(["rw"] * 60 + ["rr"] * 60, ["rr"] * 120)).pairs[0].conclusions
    assert conclusions[1].startswith("PT rose by 0.500 [+0.")


def test_an_undefined_ratio_names_the_head_that_has_none(two) -> None:
    comparison = compare(two(["rr", "rw"], ["ww", "ww"]))
    accuracy, pt, ir, judged = comparison.pairs[0].conclusions
    assert pt == "PT: undefined in two@a, so there is no difference"
    assert ir == "IR: undefined in two@a, so there is no difference"
    assert "accuracy" in accuracy
    assert judged.startswith("accuracy, judged")
    text = written(comparison.document)
    assert json.loads(text)["pairs"][0]["differences"]["pt"]["value"] is None
    assert "undefined" in text_of(comparison)


def test_the_json_follows_its_schema_and_holds_what_was_found(two) -> None:
    comparison = compare(two(FIRST, SECOND))
    found = json.loads(written(comparison.document))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(found, SCHEMA)
    assert found["schema"] == "rate.comparison/4"
    assert found["baseline"] == "one@a"
    assert found["caveat"] is None
    [one] = found["pairs"]
    assert one["moves"]["wr"]["rr"] == 1
    assert sum(sum(row.values()) for row in one["moves"].values()) == one["paired"] == 8
    assert one["changed"][0] == {"id": "s001", "from": "rr", "to": "rw"}
    assert one["differences"]["pt"]["first"]["numerator"] == 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"baseline": 3}, SCHEMA)


def test_the_public_function_takes_paths(two) -> None:
    one, other = two(FIRST, SECOND)
    assert rate.compare(Path(one), other).document == compare([one, other]).document
    assert rate.compare(one, baseline=Path(other)).pairs[0].titles == ("two@a", "one@a")


def test_the_table_shows_the_same_numbers(two) -> None:
    comparison = compare(two(FIRST, SECOND))
    text = text_of(comparison, changed=2)
    for part in (
        "one@a -> two@a: 8 images",
        "intervals by mover",
        "0.714 (5/7)",
        "0.667 (4/6)",
        "6 of 8 images changed; the first 2:",
    ):
        assert part in text
    assert "  s003  wr -> rr" in text
    assert "s004" not in text
    assert "undefined right" in text
    assert "wrong" not in text  # no sample is undefined and wrong
    assert text_of(comparison, changed=0).count("s00") == 0
    for sentence in comparison.pairs[0].conclusions:
        assert sentence in text


def test_brackets_in_names_and_ids_are_shown_as_they_are(tmp_path: Path) -> None:
    one = write_run(tmp_path / "run", {"[red]": ["rr"], "b": ["ww"]}, ids=["[bold]x[/bold]"])
    text = text_of(compare([str(one)]))
    assert "[bold]x[/bold]" in text
    assert "run@[red]" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "+0.000"), (-0.0, "+0.000"), (0.0314, "+0.031"), (-0.25, "-0.250"), (-0.0002, "-0.0002"), (1.0, "+1.000")],
)
def test_a_difference_that_is_not_0_is_never_shown_as_0(value: float, text: str) -> None:
    assert signed(value) == text


def test_p_values_are_never_shown_as_0() -> None:
    shown = [p_value(p) for p in (0.0, 0.00001, 0.0123, 0.5, 1.0)]
    assert shown == ["< 0.0001", "< 0.0001", "0.012", "0.5", "1"]
