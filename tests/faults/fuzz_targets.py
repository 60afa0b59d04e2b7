"""What is fuzzed: files of a small set, and what reads them and says whether it took the file or reported it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from function_models import job, light
from PIL import Image
from shard_files import archive
from stored_rows import stored

from rate.backends.fake import FakeSpec
from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.manifest_files import write_rows
from rate.data.make.coco import index_coco
from rate.data.storage.location import read_bytes
from rate.engine.pipeline import evaluate
from rate.errors import SampleError
from rate.runs.store import RunStore, read_run

COUNT = 4
Verdicts = dict[tuple[str, str], tuple[object, ...]]


@dataclass(frozen=True)
class Target:
    """A file to damage, and how it is used: returns "reported" or "harmless", and raises RateError or a crash."""

    path: Path
    use: Callable[[Path], str]  # of a folder for what is written


def pictures(root: Path, form: str) -> list[Path]:
    """Half dark, half light pictures with some structure."""
    root.mkdir(parents=True)
    found = []
    for k in range(COUNT):
        image = Image.radial_gradient("L").resize((40, 36)).point(lambda value, k=k: value // 2 + 100 * (k % 2))
        found.append(root / f"{k}.{form}")
        image.convert("RGB").save(found[-1])
    return found


def rows(images: list[Path]) -> list[dict[str, object]]:
    return [
        {"id": f"s{k}", "image": path.name, "label": ("dark", "light")[k % 2], "boxes": [[0.0, 0.0, 20.0, 18.0]]}
        for k, path in enumerate(images)
    ]


def verdicts(data: Path, out: Path) -> tuple[Verdicts, int]:
    """(id, head) -> what was found, of all samples that could be evaluated; and how many could not."""
    evaluate(job(data), FakeSpec(light), out)
    found = stored(out)
    shutil.rmtree(out)
    names = ("label", "prediction", "valid", "rma_positive", "area", "forwards")
    good = {(row["id"], row["head"]): tuple(row[n] for n in names) for row in found if row["error"] is None}
    return good, len(found) - len(good)


def contents(data: Path) -> dict[str, tuple[object, ...]]:
    """What each sample is, down to the bytes of its image."""
    found = {}
    for sample in read_evaluation_set(str(data)):
        with suppress(SampleError):
            found[sample.id] = (sample.label, sample.boxes, read_bytes(sample.image))
    return found


def of_set(data: Path, path: Path, scratch: Path) -> Target:
    """A set, of which ``path`` is a file: samples that were not touched must keep their verdicts."""
    (whole, _), before = verdicts(data, scratch / "whole"), contents(data)

    def use(folder: Path) -> str:
        found, failed = verdicts(data, folder / "run")
        now = contents(data)
        for key, verdict in whole.items():
            if now.get(key[0]) == before[key[0]]:
                assert found.get(key) == verdict, f"{key} was not touched and has another verdict"
        return "reported" if failed or found.keys() != whole.keys() else "harmless"

    return Target(path, use)


def image_target(root: Path, form: str) -> Target:
    images = pictures(root / form, form)
    manifest = root / form / "manifest.jsonl"
    write_rows(manifest, rows(images))
    return of_set(manifest, images[1], root)


def manifest_target(root: Path, form: str) -> Target:
    folder = root / f"in-{form}"
    manifest = folder / f"manifest.{form}"
    images = pictures(folder, "png")
    write_rows(manifest, rows(images))
    return of_set(manifest, manifest, root)


def tar_target(root: Path) -> Target:
    images = pictures(root / "for-tar", "png")
    files: dict[str, bytes] = {}
    for row, image in zip(rows(images), images, strict=True):
        files[f"{row['id']}.png"] = image.read_bytes()
        files[f"{row['id']}.json"] = json.dumps({"label": row["label"], "boxes": row["boxes"]}).encode()
    path = root / "set.tar"
    path.write_bytes(archive(files))
    return of_set(path, path, root)


def parquet_target(root: Path) -> Target:
    images = pictures(root / "for-parquet", "png")
    held = [{"image": {"bytes": image.read_bytes(), "path": image.name}} for image in images]
    table = pa.Table.from_pylist([row | image for row, image in zip(rows(images), held, strict=True)])
    path = root / "images.parquet"
    pq.write_table(table, path)
    return of_set(path, path, root)


def coco_target(root: Path) -> Target:
    images = pictures(root / "for-coco", "png")
    path = root / "for-coco" / "coco.json"
    size = {"width": 40, "height": 36}
    outline = [0, 0, 20, 0, 20, 18, 0, 18]
    path.write_text(
        json.dumps(
            {
                "images": [{"id": k, "file_name": p.name} | size for k, p in enumerate(images)],
                "categories": [{"id": 1, "name": "dark"}, {"id": 2, "name": "light"}],
                "annotations": [
                    {"id": k, "image_id": k, "category_id": 1 + k % 2, "segmentation": [outline]} for k in range(COUNT)
                ],
            }
        )
    )

    def use(folder: Path) -> str:
        manifest = root / "for-coco" / "manifest.csv"
        shutil.rmtree(root / "for-coco" / "manifest-masks", ignore_errors=True)
        index_coco(path, root / "for-coco", manifest, regions="masks")
        return "reported" if verdicts(manifest, folder / "run")[1] else "harmless"

    return Target(path, use)


def checkpoint_target(root: Path, checkpoint: Path) -> Target:
    from rate.artifacts.checkpoint import load_checkpoint

    folder = shutil.copytree(checkpoint, root / "checkpoint")

    def use(_: Path) -> str:
        load_checkpoint(folder).read()
        return "harmless"

    return Target(folder / "checkpoint.json", use)


def artifact_target(root: Path, artifact: Path, name: str) -> Target:
    from rate.artifacts.artifact import load_artifact
    from rate.cli.inspect import describe

    folder = shutil.copytree(artifact, root / f"artifact-{name}")

    def use(_: Path) -> str:
        loaded = load_artifact(folder)
        describe(loaded)
        assert loaded.digest
        return "harmless"

    return Target(folder / name, use)


def run_target(root: Path, name: str) -> Target:
    """A finished run: everything that reads one."""
    from rate.report.heads import load_heads
    from rate.report.tables.run import pace, summary_table
    from rate.runs.status import read_status
    from rate.runs.summary import load_summary

    images = pictures(root / f"for-{name}", "png")
    manifest = root / f"for-{name}" / "manifest.csv"
    write_rows(manifest, rows(images))
    out = root / f"run-{name}"
    evaluate(job(manifest), FakeSpec(light), out)
    key = job(manifest).key("fake", "f32")
    settings = {name: read_run(out)[name] for name in ("measurement", "identity")}
    path = out / "run.json" if name == "run.json" else next((out / "samples").iterdir())

    def use(folder: Path) -> str:
        summary = load_summary(out)
        summary_table(summary)
        pace(summary)
        read_status(out)
        load_heads(str(out))
        copy = shutil.copytree(out, folder / "copy")
        try:
            with RunStore(copy, key, settings, None) as store:
                assert len(store.done) <= COUNT
        finally:
            shutil.rmtree(copy)
        return "harmless"

    return Target(path, use)


def targets(root: Path, artifact: Path, checkpoint: Path) -> dict[str, Callable[[], Target]]:
    """Name -> how it is made."""
    forms = {form: (lambda form=form: image_target(root, form)) for form in ("jpg", "png", "webp")}
    manifests = {form: (lambda form=form: manifest_target(root, form)) for form in ("csv", "jsonl", "parquet")}
    return {
        **forms,
        **{f"manifest.{form}": make for form, make in manifests.items()},
        "tar": lambda: tar_target(root),
        "images.parquet": lambda: parquet_target(root),
        "coco.json": lambda: coco_target(root),
        "checkpoint.json": lambda: checkpoint_target(root, checkpoint),
        "artifact.json": lambda: artifact_target(root, artifact, "artifact.json"),
        "run.json": lambda: run_target(root, "run.json"),
        "part": lambda: run_target(root, "part"),
    }
