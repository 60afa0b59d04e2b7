"""Image-caption pairs: each row is explained by its own caption, among the captions of the set."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
import torch
import webdataset
from datasets import Dataset, Features, Value
from library_sets import png, some_rows

from rate.cli.main import run
from rate.data.open_data import open_rows
from rate.data.storage.location import read_bytes
from rate.export.sources.families.open_clip import load
from rate.export.sources.source_string import parse_source
from rate.reading import Reading
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from tests.conftest import Tiny

ROWS = some_rows(6)
CAPTIONS = [f"a {word}\n square, {{seen}} at\tdusk " for word in ("red", "dark", "small", "striped", "lost", "blue")]
LINES = [" ".join(caption.split()) for caption in CAPTIONS]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pairs as a manifest, as `datasets` and as `webdataset` write them."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["id,image,caption,mask"]
    for row, caption in zip(ROWS, CAPTIONS, strict=True):
        row.picture.save(folder / f"{row.id}.png")
        row.mask.save(folder / f"{row.id}-mask.png")
        lines.append(f'{row.id},{row.id}.png,"{caption}",{row.id}-mask.png')
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    picture = datasets.Image()
    columns = {
        "id": [row.id for row in ROWS],
        "image": [row.picture for row in ROWS],
        "caption": CAPTIONS,
        "mask": [row.mask for row in ROWS],
    }
    features = Features({"id": Value("string"), "image": picture, "caption": Value("string"), "mask": picture})
    Dataset.from_dict(columns, features=features).to_parquet(folder / "pairs.parquet")
    with webdataset.TarWriter(str(folder / "pairs.tar")) as shard:
        for row, caption in zip(ROWS, CAPTIONS, strict=True):
            members = {"png": png(row.picture), "mask.png": png(row.mask), "txt": caption, "json": {"width": 40}}
            shard.write({"__key__": row.id, **members})
    return {form: str(folder / f"pairs.{form}") for form in ("csv", "parquet", "tar")}


def test_every_form_has_the_same_sample_for_each_pair(forms: dict[str, str]) -> None:
    for data in forms.values():
        samples = [row.sample for row in open_rows(data)]
        assert [(one.id, one.label, read_bytes(one.image), read_bytes(one.mask)) for one in samples] == [
            (row.id, line, png(row.picture), png(row.mask)) for row, line in zip(ROWS, LINES, strict=True)
        ]


def test_a_caption_is_said_and_a_label_comes_before_it(tmp_path: Path) -> None:
    table = {"image": [png(row.picture) for row in ROWS], "mask": [png(row.mask) for row in ROWS]}
    table |= {"caption": CAPTIONS, "label": ["square"] * 6, "text": [f"the {k}th" for k in range(6)]}
    Dataset.from_dict(table).to_parquet(tmp_path / "set.parquet")
    assert {row.sample.label for row in open_rows(f"{tmp_path}/set.parquet")} == {"square"}
    said = open_rows(f"{tmp_path}/set.parquet", Reading(columns="caption=text"))
    assert [row.sample.label for row in said] == [f"the {k}th" for k in range(6)]


def test_pairs_from_the_set_to_the_verdicts(forms: dict[str, str], tiny_vit: Tiny, tmp_path: Path) -> None:
    """The prediction is the caption of the set to which the image is nearest, by the model's own towers."""
    texts, plain, artifact = tmp_path / "captions.txt", tmp_path / "plain.txt", tmp_path / "artifact"
    plain.write_text("{}\n")
    assert run(["data", "check", forms["parquet"], "--classes-out", str(texts)]) == 0
    prompts = ["--classes", str(texts), "--templates", str(plain)]
    assert run(["export", tiny_vit.source, *prompts, "--out", str(artifact)]) == 0
    words = ["--masks", "64", "--save-maps", "none", "--backend", "onnxruntime", "--verdict", "map"]
    words += ["--columns", "caption=caption", "--box-format", "xyxy", "--label-names", str(texts)]
    assert run(["eval", str(artifact), forms["parquet"], "--out", str(tmp_path / "run"), *words]) == 0
    recorded = read_run(tmp_path / "run").origin.reading
    assert (recorded.columns, recorded.box_format) == ({"caption": "caption"}, "xyxy")
    assert recorded.label_names == tuple(sorted(LINES))
    rows = sorted(read_rows(tmp_path / "run", read_run(tmp_path / "run")).to_pylist(), key=lambda row: row["id"])
    assert [row["explained"] for row in rows] == LINES
    assert [row["prediction"] for row in rows] == nearest(tiny_vit.source)


def nearest(source: str) -> list[str]:
    reference = parse_source(source)
    assert reference is not None
    encoder = load(reference)
    pictures = torch.stack([torch.from_numpy(encoder.geometry.image_to_picture(row.picture).pixels) for row in ROWS])
    with torch.no_grad():
        text = encoder.model.encode_text(encoder.tokenizer(LINES), normalize=True)
        image = encoder.model.encode_image(pictures, normalize=True)
    return [LINES[k] for k in (image @ text.T).argmax(dim=1).tolist()]
