"""The verdict on one image by swaps with a folder of pictures is that of a run; its picture shows what was swapped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import rate
from rate.artifacts.artifact import load_artifact
from rate.data.images.prepare import prepare
from rate.errors import ConfigError, UsageError
from rate.kernels.region import cut_of_swaps
from rate.records import plain
from rate.report.heatmap import GAP, swapped
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.studies.explanation import Explanation
from rate.types import Sample
from tests.conftest import Trained, write_images

SETTINGS = {"backend": "onnxruntime", "threads": 1, "batch": 8}
BOX = (10.0, 5.0, 50.0, 45.0)


@pytest.fixture(scope="module")
def fills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, none of which has the name of an image of the set."""
    folder = write_images(tmp_path_factory.mktemp("fills") / "set", 12, 80).parent
    for k in range(12):
        (folder / f"{k}.png").rename(folder / f"f{k}.png")
    return folder


@pytest.fixture
def mask(tmp_path: Path, trained: Trained) -> Path:
    """A disc, of the size of the image 1.png."""
    with Image.open(trained.manifest.parent / "1.png") as image:
        x, y = np.meshgrid(np.arange(image.width), np.arange(image.height))
    Image.fromarray((((x - 40) ** 2 + (y - 30) ** 2 < 200) * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def explained(trained: Trained, **settings: Any) -> Explanation:
    return rate.explain(trained.artifact, trained.manifest.parent / "1.png", **SETTINGS | {"masks": 20} | settings)


def shown(document: object) -> dict[str, Any]:
    found: dict[str, Any] = plain(document)
    return found


@pytest.mark.parametrize("number", [6, "auto"])
@pytest.mark.parametrize("by", ["boxes", "mask"])
def test_the_verdict_is_that_of_a_run(
    trained: Trained, fills: Path, mask: Path, tmp_path: Path, by: str, number: int | str
) -> None:
    region: dict[str, Any] = {"boxes": [BOX]} if by == "boxes" else {"mask": mask}
    one = explained(trained, fill=fills, fills=number, label="light", **region)
    image = shutil.copyfile(trained.manifest.parent / "1.png", tmp_path / "1.png")
    columns = "x0,y0,x1,y1" if by == "boxes" else "mask"
    cells = ",".join(map(str, BOX)) if by == "boxes" else "mask.png"
    (tmp_path / "one.csv").write_text(f"id,image,label,{columns}\n1.png,{image.name},light,{cells}\n")
    asked = SETTINGS | {"verdict": "swap", "fill": str(fills), "fills": number, "save_maps": 0}
    rate.evaluate(trained.artifact, tmp_path / "one.csv", tmp_path / "run", **asked)
    [row] = read_rows(tmp_path / "run", read_run(tmp_path / "run")).to_pylist()
    document = shown(one.document())
    for name in ("share", "phi_region", "phi_region_se", "phi_rest", "phi_rest_se", "kept_alone", "kept_without"):
        assert document["swap"][name] == pytest.approx(row[name], abs=1e-5), name
    assert document["swap"]["share_se"] == pytest.approx(row["share_se"], abs=1e-4)
    assert (document["swap"]["fills"], document["valid"]) == (row["fills"], row["valid"])
    assert document["verdict"] == "swap"
    assert document["forwards"] == row["forwards"] + 21


def test_the_map_beside_it_is_that_of_a_map_with_the_same_score(trained: Trained, fills: Path) -> None:
    swaps = explained(trained, fill=fills, fills=4, boxes=[BOX])
    alone = explained(trained, score="centred", boxes=[BOX])
    assert alone.verdict.swap is None
    assert shown(swaps.document())["map"] == shown(alone.document())["map"]
    assert (swaps.map.evidence == alone.map.evidence).all()


@pytest.mark.parametrize("number", [2, 5])
def test_the_picture_shows_the_swaps_below_image_and_map(
    trained: Trained, fills: Path, mask: Path, tmp_path: Path, number: int
) -> None:
    one = explained(trained, fill=fills, fills=number, mask=mask, out=tmp_path / "heat.png")
    drawn = np.asarray(Image.open(tmp_path / "heat.png"))
    side = (2 * 448 + GAP) // 4 - GAP
    assert drawn.shape == (448 + 2 * (side + GAP), 896, 3)
    geometry = load_artifact(trained.artifact).geometry
    x = prepare(Sample("1.png", "light", str(trained.manifest.parent / "1.png"), mask=str(mask)), geometry)
    pictures = [prepare(Sample(f.name, "", str(f), boxes=()), geometry) for f in sorted(fills.glob("*.png"))]
    cut = cut_of_swaps(x.region, False, one.measurement.margin, one.measurement.ramp)
    for column in range(4):
        top, left = 448 + GAP, column * (side + GAP)
        below = drawn[top : top + side, left : left + side]
        if column >= number:
            assert (below == 255).all(), "no fifth and, of two, no third"
            continue
        distances = []
        for picture in pictures:
            inside, _ = swapped(x.picture.view, picture.picture.view, cut)
            small = Image.fromarray(inside).resize((side, side), Image.Resampling.LANCZOS)
            distances.append(np.abs(np.asarray(small, np.float64) - below).max())
        assert min(distances) == 0.0


def test_the_image_never_meets_itself(trained: Trained, fills: Path, tmp_path: Path) -> None:
    """Neither in the folder nor below it, where its id is another."""
    folder = tmp_path / "fills"
    shutil.copytree(fills, folder / "below")
    for k in range(2, 12):
        (folder / "below" / f"f{k}.png").unlink()
    image = folder / "below" / "f1.png"
    with pytest.raises(UsageError, match=r"has 1 pictures beside f1\.png .* need 2"):
        rate.explain(trained.artifact, image, fill=folder, boxes=[BOX], masks=20, **SETTINGS)
    shutil.copyfile(fills / "f3.png", folder / "f3.png")
    found = rate.explain(trained.artifact, image, fill=folder, boxes=[BOX], masks=20, **SETTINGS)
    assert found.verdict.swap is not None
    assert found.verdict.swap.fills == 2, "all that there are, though the stopping rule looks after four"


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"fills": 13}, UsageError, r"has 12 pictures beside 1\.png that can be read, and swaps need 13"),
        ({"fills": 1}, ConfigError, "fills must be a whole number from 2"),
        ({"boxes": []}, UsageError, "give its --boxes or --mask"),
        ({"fill": "pictures"}, ConfigError, "one image has no set"),
        ({"fill": "auto", "fills": 4}, ConfigError, "fills 4: .* add --fill FOLDER"),
        ({"fill": "absent"}, UsageError, "absent is no folder"),
        ({"saliency": "rise-tokens", "keep": 0.5}, ConfigError, "needs another graph than swaps"),
    ],
)
def test_what_cannot_be_swapped_is_refused_in_one_sentence(
    trained: Trained, fills: Path, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        explained(trained, **{"fill": fills, "boxes": [BOX]} | settings)


def test_an_unreadable_picture_is_counted(trained: Trained, fills: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fills"
    folder.mkdir()
    shutil.copyfile(fills / "f3.png", folder / "a.png")
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"has 1 pictures .* \(1 cannot be read\)"):
        explained(trained, fill=folder, boxes=[BOX])


def test_the_text_says_what_the_document_holds(trained: Trained, fills: Path) -> None:
    one = explained(trained, fill=fills, fills=6, boxes=[BOX])
    swap = shown(one.document())["swap"]
    for text in (
        f"share of the region {swap['share']:.3f} ± {swap['share_se']:.3f}, by swaps with 6 other pictures",
        f"region {swap['phi_region']:+.3f}, rest {swap['phi_rest']:+.3f}",
        f"the prediction stays in {100 * swap['kept_alone']:.0f} % with the region alone",
    ):
        assert text in str(one)
    assert one._repr_png_().startswith(b"\x89PNG")


def test_a_map_decides_without_a_folder(trained: Trained) -> None:
    one = explained(trained, boxes=[BOX], fill="own")
    assert (one.verdict.swap, one.others) == (None, ())
    assert one.measurement.fill == "own"
    assert "evidence      " in str(one)
    assert one.picture().size == (896, 448)


def test_unknown_settings_are_refused(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="unknown setting maks"):
        rate.explain(trained.artifact, "x.png", maks=3)
