"""Markdown of a decision, read back with a Markdown parser, and what a terminal shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gate_runs import decided, head_run, states
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from run_rows import IDENTITY

from rate.report.gate.decide import Decision
from rate.report.gate.markdown import LIMIT, append_markdown, markdown
from rate.report.gate.result import STATES
from rate.report.gate.table import FOLDED_FROM, gate_table

MIXED = states(rr=60, rw=20, wr=10)


def by_class(names: list[str], minimum: float = 0.01, found: str = "rr") -> Decision:
    head = head_run([found] * len(names), labels=names)
    return decided({"metric": "pt", "min": minimum, "slice": "class", "use": "value", "name": "check"}, head)


def cells(text: str) -> list[list[str]]:
    """Rows of the table as a Markdown reader sees them, HTML left as text."""
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and token.level > 3:
            assert all(child.type == "text" for child in token.children or []), token
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows[1:]


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Z"]), min_size=1).map(str.strip).filter(bool))
@settings(max_examples=200)
def test_any_printable_name_is_read_back_as_it_is(name: str) -> None:
    [row] = cells(markdown(by_class([name])))
    assert len(row) == 7
    expected = "".join(c if c.isprintable() else " " for c in name).strip()
    assert row[2] == expected


@pytest.mark.parametrize(
    "name", ["<img src=x>", "a|b", "`x`", "[a](b)", "@team", "*b*", "a\nb", "a\\|b", "&lt;", "~~x~~"]
)
def test_names_that_look_like_markup_stay_text(name: str) -> None:
    text = markdown(by_class([name, "z"]))
    rows = cells(text)
    assert [len(row) for row in rows] == [7, 7]
    assert name.replace("\n", " ") in [row[2] for row in rows]
    assert "<" not in text
    assert "@" not in text


@pytest.mark.parametrize("name", ["`x` <b>@team", "a|b\n# c", "- x", "    x", "1. x", "![x](y)"])
@pytest.mark.parametrize("which", ["weights", "name"])
def test_what_run_json_and_folders_say_stays_text(name: str, which: str) -> None:
    named = {"name": name} if which == "name" else {"identity": IDENTITY | {"weights": name}}
    heads = [head_run(MIXED, **named), head_run(MIXED, name="before", **(named if which == "weights" else {}))]
    text = markdown(decided({"metric": "pt", "max_drop": 0.2}, *heads))
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}
    assert kinds == {"heading", "paragraph", "inline", "table", "thead", "tbody", "tr", "th", "td"}
    [inline] = [token for token in tokens if token.type == "inline" and token.content.startswith("run ")]
    codes = [child.content for child in inline.children or [] if child.type == "code_inline"]
    assert len(codes) == 1, "the policy's digest"
    assert {child.type for child in inline.children or []} == {"text", "code_inline"}
    shown = "".join(child.content for child in inline.children or [])
    expected = "".join(c if c.isprintable() else " " for c in name)
    assert (expected[:12] if which == "weights" else expected) in shown
    assert "@" not in text.replace("run@ft", "").replace("before@ft", "")


def test_the_worst_results_come_first() -> None:
    checks = [
        {"metric": "errors", "max": 0},
        {"metric": "accuracy", "min": 0.9},
        {"metric": "pt", "min": 0.99},
        {"metric": "pt", "min": 0.98, "severity": "warn"},
        {"metric": "ir", "min": 0.1, "slice": "group"},
    ]
    decision = decided(checks, head_run(MIXED))
    found = [row[0].split()[-1] for row in cells(markdown(decision))]
    assert found == sorted(found, key=STATES.index)
    assert set(found) == {"fail", "inconclusive", "warn", "pass"}
    assert markdown(decision).startswith("## rate gate: ❌ failed\n")
    for result in decision.results:
        assert result.why in markdown(decision).replace("\\", "")


def test_a_partial_run_is_said_in_the_summary() -> None:
    decision = decided({"metric": "pt", "min": 0.1}, head_run(MIXED, status="partial"), allow_partial=True)
    assert "run is partial: decided on 90 of 90 samples" in markdown(decision)


def test_a_long_table_is_cut_with_the_number_of_missing_rows() -> None:
    decision = by_class([f"{k:05d} {'x' * 900}" for k in range(1500)])
    text = markdown(decision)
    assert LIMIT - 1000 < len(text.encode()) < LIMIT
    shown = len(cells(text))
    assert f"\n{1500 - shown} of 1500 rows are left out" in text
    short = markdown(decision, limit=0)
    assert short.startswith("## rate gate: ✅ passed")
    assert "1500 of 1500 rows are left out" in short


def test_nothing_is_said_to_be_missing_when_nothing_is() -> None:
    assert "left out" not in markdown(by_class(["a", "b"]))


def test_a_summary_is_appended_to_and_the_whole_stays_below_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    append_markdown(path, by_class(["a"]))
    assert path.read_text(encoding="utf-8") == markdown(by_class(["a"]))
    append_markdown(path, by_class(["b"], found="rw"))
    text = path.read_text(encoding="utf-8")
    assert text.startswith(markdown(by_class(["a"])))
    assert text.count("## rate gate") == 2
    path.write_text("x" * (LIMIT - 10_000))
    append_markdown(path, by_class([f"{k:05d} {'x' * 200}" for k in range(1000)]))
    assert LIMIT - 1000 < path.stat().st_size < LIMIT
    assert "of 1000 rows are left out" in path.read_text(encoding="utf-8")


def shown(decision: Decision, width: int = 80) -> str:
    console = Console(width=width, soft_wrap=True, highlight=False)
    with console.capture() as capture:
        console.print(gate_table(decision))
    return capture.get()


def test_the_table_has_every_result_uncut_and_ends_with_the_verdict() -> None:
    decision = decided([{"metric": "pt", "min": 0.99}, {"metric": "ir", "min": 0.2}], head_run(MIXED))
    lines = shown(decision, width=20).splitlines()
    assert lines[0].split("  ")[0] == "result"
    assert len(lines) == 6
    for line, reason, result in zip(lines[1::2], lines[2::2], decision.results, strict=False):
        assert line.split()[0] == result.state
        assert reason.strip() == result.why
        assert f"{result.reading.numerator}/{result.reading.denominator}" in line
    assert lines[-1] == decision.headline


def test_the_table_fits_80_columns_whatever_checks_are_called() -> None:
    name = "no class may be right for the wrong reasons, and this name says so at some length"
    decision = decided({"metric": "pt", "min": 0.75, "min_samples": 500, "name": name}, head_run(MIXED))
    lines = shown(replace(decision, notices=())).splitlines()
    assert max(map(len, lines)) <= 80
    columns = [lines[0].index(title) for title in ("check", "value", "95 % interval", "of")]
    assert lines[1][columns[1] :].startswith("0.75 ")
    assert lines[1][columns[3] :] == "60/80"
    assert name in " ".join(" ".join(line[columns[0] : columns[1]] for line in lines[1:4]).split())


def test_many_passing_slices_are_one_line_and_the_others_are_not() -> None:
    names = [f"c{k:02d}" for k in range(FOLDED_FROM + 5)]
    head = head_run(["rw", *["rr"] * (len(names) - 1)], labels=names)
    check = {"metric": "pt", "min": 0.5, "slice": "class", "use": "value"}
    lines = shown(decided(check, head)).splitlines()
    assert len(lines) == 6
    assert "[c00]" in lines[1]
    assert f"{len(names) - 1} of {len(names)} slices by class" in lines[4]


def test_a_name_can_neither_move_the_cursor_nor_style_the_line() -> None:
    text = shown(by_class(["\x1b[31mred", "a\nb", "[bold]x"]))
    assert "\x1b" not in text
    assert "[bold]x" in text
    assert len(text.splitlines()) == 1 + 2 * 3 + 1


def test_notes_are_between_results_and_verdict() -> None:
    decision = replace(by_class(["a"]), notices=("mind the gap",))
    assert shown(decision).splitlines()[3] == "note: mind the gap"
