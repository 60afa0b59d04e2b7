"""The gallery of a run by swaps: every sample with its map and some of the swaps that decided."""

from __future__ import annotations

import base64
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from function_models import SIZE, evaluate, job, light
from msgspec import structs
from PIL import Image

from rate.backends.fake import FakeSpec
from rate.data.bank import folder_bank
from rate.data.images.prepare import prepare
from rate.engine.job import Job
from rate.engine.make_job import bank_size
from rate.engine.verdicts.fills import order_met
from rate.kernels.region import cut_of_swaps, sketch
from rate.report.heads import load_heads
from rate.report.heatmap import GAP, swap_sheet
from rate.report.html.page import Report, write_report
from rate.report.html.samples.card import SWAP_SIDE
from rate.report.html.samples.encode import PICTURE_BYTES, SHEET_BYTES
from rate.runs.run_document import read_run, write_run
from tests.report.html.test_report_html import Elements

COUNT = 12


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set and its run."""
    root = tmp_path_factory.mktemp("swaps")
    evaluate(swap(write_set(root)), FakeSpec(light), root / "run")
    return root


@pytest.fixture
def root(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of one's own, whose run names the set beside it."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    run = read_run(tmp_path / "run")
    origin = structs.replace(run.origin, data=str(tmp_path / "set" / "manifest.csv"))
    write_run(tmp_path / "run", structs.replace(run, origin=origin))
    return tmp_path


def write_set(root: Path) -> Path:
    """Dark and light images, each with the mask of a disc."""
    (root / "set").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    lines = ["id,image,label,mask"]
    for k in range(COUNT):
        image = rng.normal((60, 190)[k % 2], 40, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "set" / f"{k}.png")
        disc = (y - 12) ** 2 + (x - 10 - k) ** 2 < 49
        Image.fromarray((255 * disc).astype(np.uint8)).save(root / "set" / f"m{k}.png")
        lines.append(f"s{k},{k}.png,{('dark', 'light')[k % 2]},m{k}.png")
    (root / "set" / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root / "set" / "manifest.csv"


def swap(manifest: Path, **settings: Any) -> Job:
    asked = {"verdict": "swap", "fills": 4, "masks": 20, "grid": 4, "save_maps": None}
    return job(manifest, **asked | settings)


def report(run: Path, **options: Any) -> tuple[Report, Elements]:
    made = write_report(load_heads(str(run)), run.parent / "report.html", force=True, **options)
    return made, Elements(made.path.read_text())


def pictures_of(page: Elements) -> list[Image.Image]:
    uris = [str(one["href"]) for one in page.of("image") if str(one.get("id")).startswith("picture-")]
    return [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in uris]


def sheets_of(page: Elements) -> list[Image.Image]:
    return [one for one in pictures_of(page) if one.width != one.height]


def expected_sheets(one: Job) -> dict[str, np.ndarray]:
    """The swaps of each sample with the first three that its row met, along the edge of the run."""

    def view(sample: Any) -> np.ndarray:
        return one.decode(sample).picture.view

    sheets, regions = {}, [sketch(one.decode(picture).region) for picture in one.bank.pictures]
    for sample in one.samples:
        cut = cut_of_swaps(prepare(sample, one.geometry).region, False, one.measurement.margin, one.measurement.ramp)
        order = order_met(one.bank, np.stack(regions), sample, one.decode(sample).region, one.fills_met)
        met = [view(one.bank.pictures[k]) for k in order[:3]]
        sheets[sample.id] = np.asarray(swap_sheet(view(sample), met, [cut], SWAP_SIDE))
    return sheets


@pytest.mark.parametrize("corrupt", [{}, {"corrupt": "contrast:3"}])
def test_a_sample_is_shown_with_the_pictures_that_it_met(
    root: Path, corrupt: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rate.report.html.samples.encode.SHEET_BYTES", 100_000)
    monkeypatch.setattr("rate.report.html.samples.encode._SHEET_TRIES", ((1.0, 100),))
    one = swap(root / "set" / "manifest.csv", **corrupt)
    evaluate(one, FakeSpec(light), root / "other")
    made, page = report(root / "other")
    assert made.notices == ()
    sheets = [np.asarray(sheet.convert("RGBA"), np.float64) for sheet in sheets_of(page)]
    expected = list(expected_sheets(one).values())
    assert len(sheets) == COUNT, "both heads share the swaps of a sample"
    assert len(page.of("svg", "swaps")) == made.samples >= 2 * COUNT
    found = set()
    for sheet in sheets:
        assert sheet.shape == (2 * SWAP_SIDE + GAP, 3 * SWAP_SIDE + 2 * GAP, 4)
        distances = [np.abs(sheet - other)[..., :3][other[..., 3] > 0].mean() for other in expected]
        assert min(distances) < 12, "the WebP of one of them"
        assert sorted(distances)[1] > 2 * min(distances), "and of no other"
        found.add(int(np.argmin(distances)))
    assert len(found) == COUNT


def test_words_say_that_swaps_decided(root: Path) -> None:
    made, page = report(root / "run")
    for words in (
        "Swaps decided: the region of a picture was put on other pictures",
        "The maps were drawn afterwards and decide nothing",
        "drawn afterwards; swaps decided, it does not",
        "3 are shown: above, the region on them, below, them in the region",
        "drawn afterwards, deciding nothing: saliency rise, verdict map",
    ):
        assert words in page.words
    gallery = made.path.read_text().partition('<section id="samples"')[2].partition("<dialog")[0]
    for words in ("RMA", "relevance mass", "Floor, ceiling", "none was saved"):
        assert words not in gallery
    assert len(page.of("image", "heat")) == made.samples >= 2 * COUNT


def test_without_its_data_a_report_is_made_without_swaps(root: Path) -> None:
    shutil.move((root / "set"), root / "moved")
    made, page = report(root / "run")
    assert "its data cannot be used" in made.notices[0]
    assert not page.of("svg", "swaps")
    assert "none can be shown" in page.words
    made, page = report(root / "run", data=root / "moved" / "manifest.csv")
    assert made.notices == ()
    assert len(page.of("svg", "swaps")) == made.samples >= 2 * COUNT


def test_a_changed_picture_of_the_bank_is_said_and_no_swap_is_shown(root: Path) -> None:
    changed = root / "set" / f"{read_run(root / 'run').bank.pictures[0].removeprefix('s')}.png"
    Image.new("RGB", (SIZE, SIZE)).save(changed)
    made, page = report(root / "run")
    assert [note for note in made.notices if note.startswith("shown without swaps: the other pictures of")]
    assert "by their digest" in made.notices[0]
    assert not page.of("svg", "swaps")
    assert len(page.of("image", "heat")) == made.samples >= 2 * COUNT


def test_a_folder_of_fills_is_read_only_if_it_is_the_recorded_one(root: Path) -> None:
    fills, secret = root / "fills", root / "secret"
    for folder in (fills, secret):
        folder.mkdir()
    for k in range(6):
        shutil.copyfile(root / "set" / f"{k}.png", fills / f"f{k}.png")
        Image.new("RGB", (SIZE, SIZE), (7, 7, 200)).save(secret / f"f{k}.png")
    one = swap(root / "set" / "manifest.csv")
    measurement = replace(one.measurement, fill=str(fills))
    bank = folder_bank(fills, bank_size(measurement), 0, one.decode)
    evaluate(replace(one, measurement=measurement, bank=bank), FakeSpec(light), root / "other")
    made, page = report(root / "other")
    assert made.notices == ()
    assert len(page.of("svg", "swaps")) == made.samples >= 2 * COUNT
    run = read_run(root / "other")
    for rule, names in (
        ({"fill": str(secret)}, run.bank.pictures),
        ({"fill": str(fills / "below")}, tuple(f"../{name}" for name in run.bank.pictures)),
        ({"fill": "memory://fills"}, run.bank.pictures),
    ):
        other = structs.replace(run, rule=structs.replace(run.rule, **rule))
        write_run(root / "other", structs.replace(other, bank=structs.replace(run.bank, pictures=names)))
        made, page = report(root / "other")
        assert "shown without swaps" in made.notices[0]
        assert not page.of("svg", "swaps")


@pytest.mark.parametrize("change", [{"seed": "x"}, {"seed": -1}, {"seed": None}])
def test_a_run_of_somebody_else_breaks_no_report(root: Path, change: dict[str, Any]) -> None:
    run = read_run(root / "run")
    write_run(root / "run", structs.replace(run, measurement=run.measurement | change))
    assert "has the seed" in report(root / "run")[0].notices[0]
    write_run(root / "run", structs.replace(run, rule=structs.replace(run.rule, margin=1e9)))
    assert not report(root / "run")[1].of("svg", "swaps")


def test_the_swaps_of_a_card_are_small(root: Path) -> None:
    """Noise, the worst of pictures, on the limit of their bytes."""
    _, page = report(root / "run")
    uris = [str(one["href"]) for one in page.of("image") if str(one.get("id")).startswith("picture-")]
    sizes = [len(base64.b64decode(uri.partition(",")[2])) for uri in uris]
    assert len(sizes) == 2 * COUNT
    assert max(sizes) <= max(PICTURE_BYTES, SHEET_BYTES)
