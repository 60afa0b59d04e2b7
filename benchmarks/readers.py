"""The same photographs through every reader: rows, regions, and what a linear probe is found to rest on.

`coco-regions` of the folder named by RATE_TEST_DATA: photographs of COCO with the same objects as boxes, outlines,
panoptic segments and class masks. `benchmarks.reader_forms` writes them in the other forms. Regions of every form are
compared with the panoptic masks. Then each photograph has the class of its largest object, a linear probe on
EfficientNet-Lite0 with ImageNet weights learns it from a part of the photographs, and the rest is evaluated by swaps in
every form; as trimaps, and with void pixels, under right and wrong words; and maps of a run are judged as another
tool's. What is in --work is not made again.

    RATE_TEST_DATA=FOLDER python -m benchmarks.readers [--work build/readers] [--limit N]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import rate
from benchmarks import record
from benchmarks.caltech import figures
from benchmarks.reader_forms import (
    Photograph,
    coco,
    grown,
    others,
    photographs,
    splits,
    voc_name,
    write_folders,
    write_library_sets,
    write_voc,
)
from rate.cli.main import run
from rate.data.evaluation_set import read_evaluation_set
from rate.data.images.prepare import chosen_boxes, load_mask
from rate.data.make.layouts.pascal_voc import CLASSES
from rate.errors import RateError
from rate.finetune.lp import finetune_lp
from rate.finetune.settings import LpSettings
from rate.reading import Reading
from rate.runs.summary.summarise import Summary
from rate.types import Bool, Sample

MASKED = {"mask_values": "1", "mask_ignore": "255"}
"""What the values of the masks of `benchmarks.reader_forms` mean."""

QUIET = {"threads": 1, "save_maps": 0}
"""Settings of runs: no maps are drawn beside the verdicts."""

WINDOW, STRIDE = 56, 28
"""Pixels of the occlusion whose maps are judged."""


@dataclass(frozen=True)
class Form:
    """One form of the set, and how it is read."""

    data: str
    reading: dict[str, str] = field(default_factory=dict)
    index: tuple[str, ...] = ()  # the command that wrote its manifest, without paths of this machine


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/readers"))
    parser.add_argument("--limit", type=int, help="evaluate so many photographs only")
    arguments = parser.parse_args()
    source, work = Path(os.environ["RATE_TEST_DATA"]), arguments.work.absolute()
    known = photographs(source / "coco-regions")
    if not (listed := work / "forms.json").exists():
        forms = write_forms(source / "coco-regions", work / "set", known)
        listed.write_text(json.dumps({name: asdict(form) for name, form in forms.items()}))
    forms = {name: Form(**form) for name, form in json.loads(listed.read_text()).items()}
    artifact = work / "artifact"
    if not artifact.exists():
        probe(source, work, known)
    rows = {}
    for name, form in forms.items():
        judged = _evaluated(artifact, form, work / "runs" / name, arguments.limit)
        rows[name] = {"command": " ".join(form.index), "reading": form.reading, **regions(form, known), **judged}
    record.write(
        "readers",
        {
            "photographs": len(known),
            "forms": rows,
            "words": words(artifact, work, known, arguments.limit),
            "judged": judged_maps(artifact, forms["panoptic"], work, arguments.limit),
        },
    )


def write_forms(source: Path, root: Path, known: dict[str, Photograph]) -> dict[str, Form]:
    """Write the set below ``root`` in all forms, with manifests by `rate data index` where a form needs one."""
    split = splits(known, others(source, known))
    shutil.copytree(source, root, copy_function=shutil.copyfile)
    for folder in (root, *root.rglob("*/")):
        folder.chmod(0o755)
    images = root / "images" / "train2017"
    panoptic = root / "panoptic_segmentation" / "annotations" / "panoptic_train2017"
    for form, document in coco(source, known).items():
        (root / f"{form}.json").write_text(json.dumps(document))
    write_voc(known, images, root / "voc")
    names = root / "voc-names.txt"
    names.write_text(_voc_names(known))
    write_folders(known, images, root / "folders", Photograph.values)
    table = [
        f"{one.name}.jpg;{label};" + ";".join(map(str, box))
        for one in known.values()
        for label, boxes in one.boxes.items()
        for box in boxes
    ]
    (root / "table.csv").write_text("\n".join(["filename;class;xmin;ymin;xmax;ymax", *table]) + "\n")
    commands: dict[str, list[object]] = {
        "coco boxes": ["coco", root / "boxes.json", "--images", images],
        "coco outlines": ["coco", root / "outlines.json", "--images", images, "--regions", "masks"],
        "coco run lengths": ["coco", root / "run-lengths.json", "--images", images, "--regions", "masks"],
        "panoptic": ["coco-panoptic", panoptic.with_suffix(".json"), "--masks", panoptic, "--images", images],
        "class masks": _class_masks(root / "semantic_segmentation", images),
        "yolo boxes": _yolo(root / "object_detection", images),
        "yolo outlines": _yolo(root / "instance_segmentation", images),
        "voc boxes": ["voc", root / "voc", "--boxes", "--classes", names],
        "voc masks": ["voc", root / "voc", "--classes", names],
        "table": ["table", root / "table.csv", "--images", images],
        "folder of masks": [*_folders(root / "folders"), "--mask-values", "1", "--mask-ignore", "255"],
    }
    forms = {}
    for name, command in commands.items():
        out = root / f"{name.replace(' ', '-')}.csv"
        _index(command, out)
        _name_rows(out, known, split)
        forms[name] = Form(str(out), index=tuple(str(part).replace(f"{root}/", "") for part in command))
    library = root / "library"
    write_library_sets(known, images, library, split)
    if code := run(["data", "pack", forms["panoptic"].data, "--out", str(root / "packed")]):
        raise SystemExit(code)
    return forms | {
        "packed": Form(f"{root}/packed/*.tar"),
        "parquet boxes": Form(str(library / "boxes.parquet"), {"box_format": "xywh"}),
        "parquet masks": Form(str(library / "masks.parquet"), MASKED),
        "saved boxes": Form(str(library / "saved-boxes"), {"box_format": "xywh"}),
        "saved masks": Form(str(library / "saved-masks"), MASKED),
        "webdataset masks": Form(f"{library}/*.tar", MASKED),
    }


def _index(command: list[object], out: Path) -> None:
    if code := run(["data", "index", *map(str, command), "--out", str(out)]):
        raise SystemExit(code)


def _yolo(folder: Path, images: Path) -> list[object]:
    return ["yolo", folder / "config.yaml", "--images", images, "--labels", folder / "labels" / "train2017"]


def _class_masks(folder: Path, images: Path) -> list[object]:
    classes = ("--classes", folder / "config.yaml", "--mask-ignore", "0")
    return ["class-masks", images, "--masks", folder / "masks" / "train2017", *classes]


def _folders(root: Path) -> list[object]:
    return ["folder", root / "photographs", "--masks", root / "masks"]


def _voc_names(known: dict[str, Photograph]) -> str:
    lines = {voc_name(label): label for one in known.values() for label in one.regions}
    return "".join(f"{key} {lines.get(key, key)}\n" for key in lines.keys() | set(CLASSES))


def _name_rows(manifest: Path, known: dict[str, Photograph], split: dict[str, str]) -> None:
    """Name rows alike in all forms, `photograph:class`, and leave those of the largest object in their splits."""
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        name = Path(row["image"]).stem
        largest = name in known and row["label"] == known[name].largest
        row |= {"id": f"{name}:{row['label']}", "split": split[name] if largest else "other"}
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def probe(source: Path, work: Path, known: dict[str, Photograph]) -> None:
    """Train the linear probe on whole photographs, and export it."""
    more = others(source / "coco-regions", known)
    split = splits(known, more)
    classes = more | {name: one.largest for name, one in known.items()}
    trained = {name: label for name, label in classes.items() if split[name] == "train"}
    manifest = work / "set" / "probe.csv"
    lines = [f"images/train2017/{name}.jpg,{label},train,0,0,1,1" for name, label in trained.items()]
    manifest.write_text("\n".join(["image,label,split,x0,y0,x1,y1", *lines]) + "\n")
    weights = source / "weights" / "tf_efficientnet_lite0.safetensors"
    finetune_lp(f"timm:tf_efficientnet_lite0:{weights}", manifest, work / "probe", LpSettings(threads=1))
    rate.export(str(work / "probe"), work / "artifact")


def regions(form: Form, known: dict[str, Photograph]) -> dict[str, Any]:
    """Count the rows of a form, and compare its regions with the panoptic masks, or the boxes of their segments."""
    rows = compared = identical = close = nearly = 0
    for sample in read_evaluation_set(form.data, reading=Reading(**form.reading)):
        rows += 1
        name, _, label = sample.id.partition(":")
        if name not in known or label not in known[name].regions:
            continue
        one = known[name]
        read = _drawn(sample, one)
        expected = one.regions[label] if sample.boxes is None else _framed(one.boxes[label], one)
        compared += 1
        identical += (same := bool((read == expected).all()))
        beyond = 0 if same else int(((read & ~grown(expected, 1)) | (expected & ~grown(read, 1))).sum())
        close += not beyond
        nearly += bool(beyond <= 0.01 * expected.sum())
    equal = {"identical": identical, "within_a_pixel": close, "within_a_pixel_but_1_percent": nearly}
    return {"rows": rows, "regions": {"compared": compared, **equal}}


def _drawn(sample: Sample, one: Photograph) -> Bool:
    if sample.boxes is not None:
        return _framed(list(chosen_boxes(sample)), one)
    return load_mask(str(sample.mask), sample.mask_stamp, sample.values).object


def _framed(boxes: list[Any], one: Photograph) -> Bool:
    """The pixels [y,x] whose centres lie in a box."""
    width, height = one.size
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    inside = [(x >= x0) & (x < x1) & (y >= y0) & (y < y1) for x0, y0, x1, y1 in boxes]
    return np.logical_or.reduce(inside)


def words(artifact: Path, work: Path, known: dict[str, Photograph], limit: int | None) -> dict[str, Any]:
    """Evaluate trimaps and masks with void pixels under several words, and without one."""
    root = work / "set"
    if not (root / "trimaps").exists():
        write_folders(known, root / "images" / "train2017", root / "trimaps", Photograph.trimap)
    asked = {
        "trimaps": [{}, {"mask_values": "1-3"}, {"mask_values": "1"}, {"mask_values": "1", "mask_ignore": "3"}],
        "folders": [{}, {"mask_values": "1,255"}, {"mask_values": "1"}, {"mask_values": "1", "mask_ignore": "255"}],
    }
    split, found = splits(known, others(root, known)), dict[str, Any]()
    for name, readings in asked.items():
        manifest = root / f"{name}-without-words.csv"
        _index(_folders(root / name), manifest)
        _name_rows(manifest, known, split)
        for number, reading in enumerate(readings):
            said = " ".join(f"--{word.replace('_', '-')} {value}" for word, value in reading.items())
            try:
                judged = _evaluated(artifact, Form(str(manifest), reading), work / "words" / f"{name}-{number}", limit)
            except RateError as error:
                judged = {"refused": str(error).replace(f"{work}/", "")}
            found.setdefault(name, {})[said or "no word"] = judged
    return found


def judged_maps(artifact: Path, form: Form, work: Path, limit: int | None) -> dict[str, Any]:
    """Maps of a run by occlusion, judged by that run and, from a file, as another tool's."""
    common = {"split": "test", "limit": limit, "threads": 1, "save_maps": None}
    occlusion = {"saliency": "occlusion", "window": WINDOW, "stride": STRIDE}
    own = rate.evaluate(artifact, form.data, work / "occlusion", **common, **occlusion)
    saved = pq.read_table(work / "occlusion" / "maps" / "maps.parquet").to_pylist()
    maps = {one["id"]: np.frombuffer(one["map"], np.float16).reshape(one["side"], -1) for one in saved}
    np.savez(work / "maps.npz", **maps)
    blur = f"window:{WINDOW}:{STRIDE}"
    given = rate.judge(work / "maps.npz", form.data, work / "judged", artifact=artifact, blur=blur, **common)
    columns = ("id", "prediction", "valid", "undefined_reason")
    rows = [{row["id"]: row for row in one.rows().select(columns).to_pylist()} for one in (own, given)]
    return {
        "maps": f"occlusion by windows of {WINDOW} pixels, every {STRIDE}",
        "own": _numbers(own),
        "judged": _numbers(given),
        "rows": len(rows[0]),
        "equal_rows": sum(rows[0][name] == rows[1].get(name) for name in rows[0]),
    }


def _evaluated(artifact: Path, form: Form, out: Path, limit: int | None) -> dict[str, Any]:
    summary = rate.evaluate(artifact, form.data, out, split="test", limit=limit, **QUIET, **form.reading)
    return _numbers(summary)


def _numbers(summary: Summary) -> dict[str, Any]:
    [found] = summary.heads.values()
    areas = summary.rows()["area"].drop_null().to_numpy()
    return {"samples": found.rows, "area": round(float(areas.mean()), 4), **figures(found)}


if __name__ == "__main__":
    main()
