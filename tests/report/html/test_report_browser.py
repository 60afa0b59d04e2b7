"""The page in a real browser, driven over the DevTools protocol: what a reader does with mouse and keyboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, Browser
from report_runs import Plan, write_run

from rate.report.heads import load_heads
from rate.report.html.page import write_report

EVIL = '"><img src=x onerror=alert(1)>'
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the report is NOT checked in a browser")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    classes = ("golden_retriever", "bee", EVIL, "</script><script>alert(2)</script>")
    folder = write_run(root, Plan(count=120, heads=("zs", "lp"), classes=classes, group=True, errors=1))
    return write_report(load_heads(str(folder)), root / "report.html").path


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Browser]:
    browser.complaints.clear()
    browser.open(report)
    yield browser
    browser.settle()
    assert browser.complaints == []


def names(page: Browser) -> list[str]:
    return page.ask("[...document.querySelectorAll('#slice-table tbody th')].map((cell) => cell.textContent)")


def visible(page: Browser) -> list[list[str]]:
    return page.ask(
        "[...document.querySelectorAll('.card')].filter((card) => card.checkVisibility())"
        ".map((card) => [card.closest('.group').dataset.quadrant, card.dataset.head, card.dataset.class])"
    )


def choose(page: Browser, control: str, value: str) -> None:
    page.ask(
        f"(() => {{ const box = document.querySelector('{control}'); box.value = {json.dumps(value)};"
        "box.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )


def test_names_from_the_data_become_neither_elements_nor_scripts(page: Browser) -> None:
    assert page.ask("document.querySelectorAll('img').length") == 0
    assert page.ask("document.querySelectorAll('script').length") == 2
    assert EVIL in names(page)


def test_nothing_is_wider_than_the_window_and_pt_and_ir_are_on_the_first_screen(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    """Of one head they are in the table of values, of two in the table of differences above it."""
    one = write_report(load_heads(str(write_run(tmp_path, Plan(count=8)))), tmp_path / "report.html").path
    for path, row in (
        (one, ".answer tbody td:nth-of-type(%d) strong"),
        (report, ".differences tbody tr:nth-child(%d)"),
    ):
        browser.open(path)
        for width, height in ((1280, 900), (800, 900), (390, 664), (360, 600)):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.call("Emulation.setDeviceMetricsOverride", **size)
            browser.settle()
            assert browser.ask("document.documentElement.scrollWidth") <= width
            for k in (2, 3):
                bottom = browser.ask(f"document.querySelector('{row % k}').getBoundingClientRect().bottom")
                assert 0 < bottom < height
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_sorting_by_keyboard_and_by_click(page: Browser) -> None:
    assert page.ask("document.querySelector('[data-key=name]').ariaSort") == "ascending"
    page.ask("document.querySelector('[data-key=images] button').focus()")
    page.key("Enter", 13, "\r")
    assert page.ask("document.querySelector('[data-key=images]').ariaSort") == "ascending"
    assert page.ask("document.querySelector('[data-key=name]').ariaSort") == "none"
    ascending = page.ask(
        "[...document.querySelectorAll('#slice-table tbody tr')].map((r) => Number(r.cells[2].textContent))"
    )
    assert ascending == sorted(ascending)
    page.ask("document.querySelector('[data-key=pt] button').click()")
    page.ask("document.querySelector('[data-key=pt] button').click()")
    assert page.ask("document.querySelector('[data-key=pt]').ariaSort") == "descending"
    values = page.ask(
        "[...document.querySelectorAll('#slice-table tbody tr')].map((r) => parseFloat(r.cells[4].textContent))"
    )
    assert values == sorted(values, reverse=True)


def test_classes_are_filtered_by_head_name_and_kind(page: Browser) -> None:
    assert len(names(page)) == 8
    choose(page, "#slice-head", "1")
    assert len(names(page)) == 4
    choose(page, "#slice-name", "BEE")
    assert names(page) == ["bee"]
    choose(page, "#slice-name", "")
    choose(page, "#slice-kind", "group")
    assert names(page) == ["g0", "g1"]
    assert page.ask("document.querySelector('#slice-count').textContent") == "2 rows"


def test_samples_are_filtered_by_quadrant_head_and_class(page: Browser) -> None:
    assert {quadrant for quadrant, _, _ in visible(page)} == {"rr", "rw", "wr", "ww", "undefined"}
    choose(page, "#sample-quadrant", "rw")
    assert {quadrant for quadrant, _, _ in visible(page)} == {"rw"}
    choose(page, "#sample-head", "1")
    assert {head for _, head, _ in visible(page)} == {"1"}
    choose(page, "#sample-class", EVIL)
    assert {label for _, _, label in visible(page)} <= {EVIL}
    choose(page, "#sample-class", "")
    choose(page, "#sample-quadrant", "")
    choose(page, "#sample-head", "")


def test_more_are_shown_when_asked_for(page: Browser) -> None:
    before = len(visible(page))
    page.ask("document.querySelector('.group[data-quadrant=rr] .more').click()")
    assert len(visible(page)) > before
    assert page.ask("document.activeElement.className") == "shot"


def test_a_quadrant_leads_to_its_samples(page: Browser) -> None:
    page.ask("document.querySelector('a[data-quadrant=wr][data-head=\"1\"]').click()")
    assert {(quadrant, head) for quadrant, head, _ in visible(page)} == {("wr", "1")}


def test_opacity_and_outline(page: Browser) -> None:
    heat = "getComputedStyle(document.querySelector('.heat')).opacity"
    assert page.ask(heat) == "0.7"
    choose(page, "#heat", "20")
    assert page.ask(heat) == "0.2"
    outline = "getComputedStyle(document.querySelector('.outline')).display"
    assert page.ask(outline) != "none"
    page.ask("document.querySelector('#outline').click()")
    assert page.ask(outline) == "none"


def test_pictures_and_maps_are_drawn(page: Browser) -> None:
    """Decoded under the page's own policy, and over the whole card."""
    shape = page.ask(
        "(() => { const svg = document.querySelector('.shot svg'); const all = svg.getBoundingClientRect();"
        "return ['use', '.heat'].map((part) => { const box = svg.querySelector(part).getBoundingClientRect();"
        "return [box.width / all.width, box.height / all.height]; }); })()"
    )
    assert shape == [pytest.approx([1, 1], abs=0.02)] * 2
    sizes = page.ask(
        "Promise.all([...document.querySelectorAll('image')].slice(0, 8).map(async (image) => {"
        "const made = new Image(); made.src = image.getAttribute('href'); await made.decode(); return made.width; }))"
    )
    assert all(size in (48, 56) for size in sizes)


def test_the_theme_follows_the_system_until_the_button_is_used(page: Browser) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for system in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": system}])
        page.settle()
        seen[system] = page.ask(colour)
    assert seen["light"] != seen["dark"]
    page.ask("document.querySelector('#theme').focus()")
    page.key("Enter", 13, "\r")
    assert page.ask(colour) == seen["light"]
    assert page.ask("document.querySelector('#theme').textContent") == "Dark theme"
    page.call("Emulation.setEmulatedMedia", features=[])


def test_a_changed_sample_is_enlarged_under_both_heads(browser: Browser, tmp_path: Path) -> None:
    plans = {"a": Plan(count=40), "b": Plan(count=40, quadrants=("rw", "ww", "rr"))}
    heads = [head for name, plan in plans.items() for head in load_heads(str(write_run(tmp_path, plan, name)))]
    browser.complaints.clear()
    browser.open(write_report(heads, tmp_path / "report.html").path)
    shown = "[...document.querySelectorAll('#changed .pair')].filter((pair) => pair.checkVisibility()).length"
    before = browser.ask(shown)
    browser.ask("document.querySelector('#changed .more:not([hidden])').click()")
    assert browser.ask(shown) > before
    browser.ask("document.querySelector('#changed .shot').focus()")
    browser.key("Enter", 13, "\r")
    names = (
        "[...document.querySelectorAll('#viewer-body .facts')].map((facts) => facts.querySelector('dd').textContent)"
    )
    first = browser.ask(names)
    assert len(first) == 2
    assert first[0] == first[1]
    browser.key("ArrowRight", 39)
    second = browser.ask(names)
    assert len(second) == 2
    assert second != first
    browser.key("Escape", 27)
    assert browser.complaints == []


def test_a_sample_is_enlarged_stepped_and_closed_by_keyboard(page: Browser) -> None:
    page.ask("document.querySelector('.shot').focus()")
    page.key("Enter", 13, "\r")
    assert page.ask("document.querySelector('#viewer').open") is True
    first = page.ask("document.querySelector('#viewer-body dd').textContent")
    page.key("ArrowRight", 39)
    page.key("ArrowRight", 39)
    assert page.ask("document.querySelector('#viewer-body dd').textContent") != first
    page.key("ArrowLeft", 37)
    page.key("ArrowLeft", 37)
    assert page.ask("document.querySelector('#viewer-body dd').textContent") == first
    page.key("Escape", 27)
    assert page.ask("document.querySelector('#viewer').open") is False
    assert page.ask("document.activeElement === document.querySelector('.shot')") is True


def test_the_first_stop_of_the_keyboard_skips_to_the_answer(page: Browser) -> None:
    page.key("Tab", 9)
    assert page.ask("document.activeElement.className") == "skip"
    assert page.ask("document.activeElement.getBoundingClientRect().width") > 50
    page.key("Enter", 13, "\r")
    assert page.ask("document.activeElement.id") == "answer"


def test_names_break_after_underscores_and_not_within_words(page: Browser) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=360, height=600, deviceScaleFactor=1, mobile=False)
    lines = "[...document.querySelectorAll('#slice-table tbody bdi, .card .says bdi')].filter((e) => e.textContent"
    words = page.ask(
        f"{lines} === 'golden_retriever').flatMap((e) => [...e.childNodes].filter((part) => part.data).map((part) => {{"
        "const range = document.createRange(); range.selectNode(part);"
        "return [part.data, range.getClientRects().length];"
        "}))"
    )
    assert {tuple(word) for word in words} <= {("golden_", 1), ("retriever", 1), ("golden_", 0), ("retriever", 0)}
    assert ["golden_", 1] in words
    page.call("Emulation.clearDeviceMetricsOverride")


def test_what_the_keyboard_is_on_can_be_seen(page: Browser) -> None:
    for _ in range(4):
        page.key("Tab", 9)
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
