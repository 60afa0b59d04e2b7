"""RUN[@HEAD] names a head whatever the folder is called, and two heads are comparable or it is said why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from paired_runs import write_run
from report_runs import GEOMETRY

from rate.errors import RunError, UsageError
from rate.records import plain
from rate.report.heads import incompatibilities, load_head, load_heads, require_comparable, split_reference


def test_a_run_stands_for_all_its_heads_in_its_own_order(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"zs": ["rr", "rw"], "lp": ["ww", "rr"]})
    heads = load_heads(str(folder))
    assert [head.head for head in heads] == ["zs", "lp"]
    assert [head.name for head in heads] == ["run@zs", "run@lp"]
    for head in heads:
        assert set(head.rows()["head"].to_pylist()) == {head.head}
        assert head.summary.rows == 2
        assert head.status == "complete"
    assert heads[0].summary.counts.rw == 1


def test_rows_come_in_order_of_id_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"a": ["rr", "rw", "wr", "ww"]}, ids=["d", "b", "c", "a"])
    assert load_head(str(folder)).rows()["id"].to_pylist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("head", ["lp", "with@sign"])
def test_a_head_is_named_after_the_last_at(tmp_path: Path, head: str) -> None:
    folder = write_run(tmp_path / "run", {"zs": ["rr"], "lp": ["ww"], "with@sign": ["ww"]})
    if head == "lp":
        assert load_head(f"{folder}@{head}").head == head
    else:
        with pytest.raises(RunError, match="is not a run folder"):  # it is looked for as run@with, head sign
            load_head(f"{folder}@{head}")


def test_a_folder_with_an_at_in_its_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run@2x", {"zs": ["rr"], "lp": ["ww"]})
    assert split_reference(str(folder)) == (folder, None)
    assert split_reference(f"{folder}@lp") == (folder, "lp")
    assert len(load_heads(str(folder))) == 2
    assert load_head(f"{folder}@lp").name == "run@2x@lp"


def test_an_existing_folder_wins_over_a_head_of_that_name(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"lp": ["rr"]})
    other = write_run(tmp_path / "run@lp", {"ft": ["ww"]})
    assert load_head(str(other)).head == "ft"


def test_an_unknown_head_is_refused_with_those_there_are(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"zs": ["rr"], "lp": ["ww"]})
    with pytest.raises(UsageError, match=r"run has no head 'ft'; it has zs, lp"):
        load_heads(f"{folder}@ft")
    with pytest.raises(UsageError, match="has no head ''"):
        load_heads(f"{folder}@")


def test_one_head_of_several_must_be_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"zs": ["rr"], "lp": ["ww"]})
    with pytest.raises(UsageError, match=r"has 2 heads and one is needed; name it: .*run@zs, .*run@lp"):
        load_head(str(folder))
    assert load_head(f"{folder}@zs").head == "zs"
    assert load_head(str(write_run(tmp_path / "single", {"only": ["rr"]}))).head == "only"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for reference in (str(tmp_path / "absent"), str(tmp_path), f"{tmp_path / 'absent'}@zs"):
        with pytest.raises(RunError, match="is not a run folder"):
            load_heads(reference)


def test_weights_and_where_it_ran_may_differ(tmp_path: Path) -> None:
    one = load_head(str(write_run(tmp_path / "one", {"a": ["rr"]})))
    elsewhere = {"backend": "tensorrt", "precision": "fp16", "geometry": plain(GEOMETRY)}
    other = load_head(str(write_run(tmp_path / "other", {"b": ["ww"]}, **elsewhere)))
    assert incompatibilities(one, other) == []
    require_comparable([one, other])
    require_comparable([one])


def test_every_difference_of_data_or_measurement_is_named_with_both_values(tmp_path: Path) -> None:
    one = load_head(str(write_run(tmp_path / "one", {"a": ["rr"]})))
    other = write_run(tmp_path / "other", {"a": ["rr"]}, data="e" * 64, measurement={"tau": 0.25, "masks": 400})
    with pytest.raises(RunError) as refused:
        require_comparable([one, one, load_head(str(other))])
    said = str(refused.value)
    for text in (
        "one@a and other@a cannot be compared",
        "measurement.tau: 0.5",
        "0.25 in other@a",
        "measurement.masks",
    ):
        assert text in said
    assert f"identity.data: {'d' * 12}... in one@a, {'e' * 12}... in other@a" in said
    assert "the same data with the same settings" in said


def test_across_corruptions_these_alone_may_differ(tmp_path: Path) -> None:
    settings = {"clean": {}, "fog": {"corrupt": "fog:3", "corrupt_seed": 0}, "off": {"corrupt": "fog:3", "tau": 0.25}}
    clean, fog, off = (
        load_head(str(write_run(tmp_path / name, {"a": ["rr"]}, measurement=given))) for name, given in settings.items()
    )
    assert len(incompatibilities(clean, fog)) == 2
    assert incompatibilities(clean, fog, across=True) == []
    assert incompatibilities(clean, off, across=True) == ["measurement.tau: 0.5 in clean@a, 0.25 in off@a"]


def test_other_pictures_in_the_bank_are_a_difference(tmp_path: Path) -> None:
    one, other = (
        load_head(str(write_run(tmp_path / name, {"a": ["rr"]}, verdict="swap", bank=name))) for name in ("b1", "b2")
    )
    assert incompatibilities(one, other) == ["identity.bank: 'b1' in b1@a, 'b2' in b2@a"]


def test_a_setting_that_only_one_of_them_knows_is_a_difference(tmp_path: Path) -> None:
    one = load_head(str(write_run(tmp_path / "one", {"a": ["rr"]})))
    other = load_head(str(write_run(tmp_path / "other", {"a": ["rr"]}, measurement={"later": "x"})))
    assert incompatibilities(one, other) == ["measurement.later: None in one@a, 'x' in other@a"]
