"""The page of runs by swaps: its three numbers, the distribution of the share, and words for what was done."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest
from function_models import evaluate, job, light

from rate.backends.fake import FakeSpec
from rate.report.heads import HeadRun, load_head, load_heads
from rate.report.html.charts import histograms, sweep_of
from rate.report.html.page import write_report
from rate.report.html.sentences import answer, explained_note
from tests.conftest import write_images
from tests.report.html.test_report_html import Elements, data_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one set: a fixed number of fills, as many as are needed, and by maps."""
    folder = tmp_path_factory.mktemp("pages")
    manifest = write_images(folder / "set", 20, 40)
    for name, settings in (("fixed", {"fills": 6}), ("auto", {}), ("map", {"verdict": "map", "masks": 40, "grid": 4})):
        evaluate(job(manifest, **{"verdict": "swap"} | settings), FakeSpec(light), folder / name)
    return folder


def page(root: Path, *names: str) -> str:
    heads = [head for name in names for head in load_heads(str(root / name))]
    return write_report(heads, root / "page.html", force=True).path.read_text(encoding="utf-8")


def test_each_head_has_its_three_numbers(root: Path) -> None:
    words = Elements(page(root, "fixed")).words
    for head in load_heads(str(root / "fixed")):
        for name in ("object_only", "background_only", "gap"):
            mean = getattr(head.summary.swap, name)
            assert f"{mean.value:.3f} {mean.low:.3f}–{mean.high:.3f} 20 images" in words
        ratio = head.summary.pt.shuffled_ratio
        of = f"{ratio.low:.3f}–{ratio.high:.3f}, {ratio.numerator} of {ratio.denominator}"
        assert f"shuffled {ratio.value:.3f} ({of})" in words
    for title in ("Object-only right with other pictures around the region", "Gap the first less the second"):
        assert title in words
    assert "Object-only" not in Elements(page(root, "map")).words
    both = page(root, "fixed", "map")
    assert Elements(both).words.count("20 images") >= 6
    assert [head["summary"]["swap"] is None for head in data_of(both)["heads"]] == [False, False, True, True]


def test_words_say_what_swaps_did_and_what_maps_did(root: Path) -> None:
    by_swap, by_map, both = (Elements(page(root, *names)).words for names in (("fixed",), ("map",), ("fixed", "map")))
    said = (
        "The region of an image is put on other pictures, and other pictures are put into its region",
        "the ids of the other pictures stand in run.json",
        "Maps, where they are shown, were drawn afterwards and decide nothing",
        "fills ±: what other pictures",
        "shuffled: some images swapped along another image’s region",
    )
    of_maps = ("The maps are blurry.", "masks ±: what another draw of masks", "shuffled: every map")
    for text in said:
        assert text in by_swap
        assert text in both
        assert text not in by_map
    for text in of_maps:
        assert text in by_map
        assert text in both
        assert text not in by_swap


@pytest.mark.parametrize(("name", "gap"), [("a", "above"), ("b", "below")])
def test_sentences_follow_the_numbers(root: Path, name: str, gap: str) -> None:
    """Head a reads the region alone, head b the whole picture, of which the rest is larger."""
    head = load_head(f"{root / 'fixed'}@{name}")
    swap, bank = head.summary.swap, len(head.run.bank.pictures)
    words = " ".join(answer(head.summary, bank))
    assert f"{swap.object_only.value:.3f} of the time (object-only accuracy)" in words
    assert f"{swap.background_only.value:.3f} of the time (background-only accuracy)" in words
    assert f"the gap is {swap.gap.value:.3f}, and its interval lies {gap} 0." in words
    assert f"met 6.0 other pictures on average, of the {bank} that run.json lists" in words
    assert explained_note(head.summary.rule).startswith("Swaps are judged by the labelled class")
    assert words in Elements(page(root, "fixed")).words


def test_the_share_is_drawn_with_its_threshold(root: Path) -> None:
    heads: list[HeadRun] = load_heads(str(root / "fixed"))
    for head, chart in zip(heads, histograms(heads), strict=True):
        assert chart.quantity == "share of the region"
        assert (chart.judged, chart.tau) == (head.summary.counts.rr + head.summary.counts.rw, 0.5)
        valid = sum(bar.count for bar in chart.bars if bar.low >= 0.5 - 1e-9)
        assert valid == pc.sum(head.rows()["valid"]).as_py()
        assert min(bar.low for bar in chart.bars) >= 0
        assert max(bar.high for bar in chart.bars) <= 1 + 1e-9
        assert sweep_of(head).tau == 0.5
    assert "share of the region" in Elements(page(root, "fixed")).words


def test_fills_until_clear_have_no_sweep_and_the_page_says_why(root: Path) -> None:
    assert all(sweep_of(head) is None for head in load_heads(str(root / "auto")))
    words = Elements(page(root, "auto")).words
    assert "fills were drawn until each verdict at τ = 0.5 was settled" in words
    assert "A run with a fixed number of fills has this figure" in words
