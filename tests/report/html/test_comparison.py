"""The comparison on a page: differences, moves, and the samples that changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from report_runs import CYCLE, Plan, write_run

from rate.errors import UsageError
from rate.report.compare.compare import TITLES, pair, signed
from rate.report.gate.decide import decide
from rate.report.gate.policy import read_policy
from rate.report.heads import HeadRun, load_head, load_heads
from rate.report.html.comparison import comparison_of
from rate.report.html.page import Report, write_report
from rate.report.html.samples.changed import CHANGES, change_of, select_changed, totals
from rate.runs import run_document
from rate.runs.part_list import PartLog
from rate.runs.parts import read_rows, write_part
from rate.runs.run_document import read_run
from rate.statistics.metrics import STATES
from tests.report.html.test_report_html import Elements

OTHERS = ("rr", "rw", "rr", "ww", "rr", "rw", "undefined", "rw", "wr", "rr", "rr")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[HeadRun]:
    root = tmp_path_factory.mktemp("two")
    plans = {"a": Plan(count=60, errors=1), "b": Plan(count=60, errors=1, quadrants=OTHERS)}
    return [load_head(str(write_run(root, plan, name))) for name, plan in plans.items()]


@pytest.fixture(scope="module")
def page(two: list[HeadRun]) -> tuple[Report, str]:
    report = write_report(two, two[0].folder.parent / "report.html", max_samples=80)
    return report, report.path.read_text(encoding="utf-8")


def test_differences_stand_on_top_with_their_intervals(two: list[HeadRun], page: tuple[Report, str]) -> None:
    words = Elements(page[1]).words
    assert "b@zs against a@zs 60 images of both" in words.replace("61 images", "60 images")
    for name, one in pair(*two).differences.items():
        said = f"{TITLES[name]} {one.first.value:.3f} {one.second.value:.3f} {signed(one.value)} "
        assert said + f"{signed(one.low)} to {signed(one.high)}" in words
    assert words.index("b@zs against a@zs") < words.index("right predictions on valid evidence")


def test_readings_are_those_of_the_intervals(two: list[HeadRun]) -> None:
    [view], none = comparison_of(two, ["one", "two"])
    assert none is None
    assert view.pair.titles == ("one", "two")
    for row, said in zip(view.rows, view.pair.conclusions, strict=True):
        assert row.reading in said
        assert max(abs(row.difference.low), abs(row.difference.high)) <= view.end


def test_moves_are_those_of_the_comparison(two: list[HeadRun]) -> None:
    [view], _ = comparison_of(two, ["one", "two"])
    moves = pair(*two).moves
    assert sum(move.count for row in view.moves for move in row) == moves.sum() == 61
    assert sum(move.count for row in view.moves for move in row if move.kind == "same") == moves.trace()
    counted = dict.fromkeys(CHANGES, 0)
    for k in range(60):
        states = (CYCLE[k % len(CYCLE)], OTHERS[k % len(OTHERS)])
        named = ("undefined_right" if state == "undefined" else state for state in states)
        if (change := change_of(*named)) is not None:
            counted[change] += 1
    assert {name: count for name, _, count in view.changes} == totals(moves) == counted
    assert all(counted.values())


@pytest.mark.parametrize("state", STATES)
def test_changes_mirror(state: str) -> None:
    mirrored = {"wrong": "right", "right": "wrong", "valid": "invalid", "invalid": "valid", "other": "other"}
    for other in STATES:
        change = change_of(state, other)
        assert change_of(other, state) == mirrored.get(change, None if change is None else "")
        assert (change is None) == (state == other or "error" in (state, other))


def test_the_largest_changes_are_chosen_failures_first(two: list[HeadRun]) -> None:
    everything, few = select_changed(two, 1000), select_changed(two, 9)
    assert len(everything) == sum(totals(pair(*two).moves).values())
    assert len(few) == 9
    assert [one.change for one in few[:5]] == list(CHANGES)
    for one in everything:
        assert one.first.id == one.second.id
        assert (one.first.head, one.second.head) == (0, 1)
    for change, sign in (("invalid", 1), ("valid", -1)):
        own = [one for one in everything if one.change == change]
        rises = [sign * (one.second.row["localization"] - one.first.row["localization"]) for one in own]
        assert rises == sorted(rises)
        assert [one.first.id for one in few if one.change == change] == [one.first.id for one in own[:2]][: len(few)]


def test_changed_samples_are_side_by_side_with_one_picture(page: tuple[Report, str]) -> None:
    report, text = page
    elements = Elements(text)
    pairs = elements.of("div", "pair")
    assert len(pairs) == 20
    assert report.samples == report.pictures == len(elements.of("article", "card")) == 80
    first = text[text.index('<div class="pair"') :].partition("</article>")[2]
    pictures = [part.partition('href="#picture-')[2].partition('"')[0] for part in first.split("<article")[1:2]]
    before = text[text.index('<div class="pair"') :].partition('href="#picture-')[2].partition('"')[0]
    assert pictures == [before]
    words = elements.words
    assert "Right in a@zs, wrong in b@zs" in words
    assert words.index("Right in a@zs") < words.index("Right in both") < words.index("Wrong in a@zs, right")


def test_a_gate_decides_on_the_second_head_against_the_first(two: list[HeadRun], tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(
        '[[check]]\nmetric = "pt"\nmin = 0.99\n[[check]]\nmetric = "pt"\nmax_drop = 0.9\nmin_samples = 1\n'
    )
    policy = read_policy(tmp_path / "gate.toml")
    words = Elements(write_report(two, tmp_path / "report.html", policy=policy).path.read_text()).words
    decision = decide(policy, two[1], two[0])
    assert decision.verdict == "failed"
    assert "Gate failed : b@zs against a@zs , 1 fail, 1 pass" in words
    for result in decision.results:
        assert f"{result.state} {result.name}" in words
        assert result.why in words
    assert words.index("Gate failed") < words.index("images of both")
    with pytest.raises(UsageError, match="--baseline"):
        write_report(two[1:], tmp_path / "one.html", policy=policy)


def test_of_three_heads_each_is_compared_with_the_first(tmp_path: Path) -> None:
    heads = load_heads(str(write_run(tmp_path, Plan(count=8, heads=("a", "b", "c")))))
    words = Elements(write_report(heads, tmp_path / "report.html").path.read_text()).words
    assert "b against a 8 images of both" in words
    assert "c against a 8 images of both" in words
    assert "c against b" not in words
    assert "a and b have the same weights" not in words
    assert "not for all 2 at once" in words


def test_runs_without_a_sample_in_common_have_a_page(tmp_path: Path) -> None:
    heads = []
    for name, kept in (("a", slice(0, 4)), ("b", slice(4, 8))):
        folder = write_run(tmp_path, Plan(count=8, status="partial"), name)
        run = read_run(folder)
        rows = read_rows(folder, run)[kept]
        PartLog(folder).replace([write_part(folder, run.key, rows)])
        run_document.write_run(folder, structs.replace(run, sessions=(), rows=len(rows)))
        heads.append(load_head(str(folder)))
    text = write_report(heads, tmp_path / "report.html").path.read_text(encoding="utf-8")
    assert "have no sample in common" in Elements(text).words
    assert 'id="changed"' not in text
