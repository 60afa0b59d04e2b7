"""Hostile inputs, by what they are: refused or reported, and no crash, no hang, no flood of memory."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults import hostile_files, rows
from benchmarks.faults.damage import mutated
from benchmarks.faults.material import EXPORT, POLICY, Material, copied, csv_of, evaluation
from benchmarks.faults.outcome import Case, Failure
from benchmarks.faults.process import rate

COUNT = 8
"""Samples of the sets here."""
DAMAGED = 3
"""The sample whose image or mask is hostile."""
DOCUMENTED = {"gate": (0, 1, 2, 3, 4)}
OTHERS = (0, 2, 4)


@dataclass(frozen=True)
class Category:
    """A kind of input: what is damaged, by what, and who reads it."""

    name: str
    share: int  # of 3,000 cases
    prepare: Callable[[Path, bytes | None], object]  # puts the file into a folder; None leaves it whole
    whole: Callable[[], bytes]
    made: Sequence[bytes]  # by hand; the other cases are mutations of the whole file
    commands: Sequence[list[str]]
    needs: Callable[[], object] = field(default=lambda: None)  # what takes long to make
    keeps: str = ""  # the run in which samples that were not touched must be as they were


def tried(category: Category, number: int, expected: Callable[[str], dict[str, Any]], folder: Path) -> str:
    """One input and one of its readers."""
    work = folder / "work"
    work.mkdir()
    data = category.made[number] if number < len(category.made) else mutated(category.whole(), number)
    category.prepare(work, data)
    command = category.commands[number % len(category.commands)]
    ended = rate(command, work)
    if ended.code not in DOCUMENTED.get(command[0], OTHERS):
        raise Failure("exit code", f"{ended.command[:200]}: {ended.code}: {ended.said.strip()[-300:]}")
    if ended.code == 2 and not (ended.errors or "Usage" in ended.said or ended.printed):
        raise Failure("message", f"{ended.command[:200]}: exit code 2 and nothing said")
    if category.keeps and (work / "run" / "summary.json").exists():
        found, whole = rows.rows(work / "run"), expected(category.keeps)
        for key, row in whole.items():
            if key[0] != f"s{DAMAGED}" and rows.difference(row, found.get(key)):
                raise Failure("differs", f"{key} was not touched: {rows.difference(row, found.get(key))}")
    return "accepted" if ended.code == 0 else "reported"


class Inputs:
    """Makes the folders in which hostile files lie."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.images = material.images(COUNT)
        self.rows = [json.loads(line) for line in (self.images / "manifest.jsonl").read_text().splitlines()]

    def evaluate(self, data: str, *more: str) -> list[str]:
        """An evaluation of a set in the folder."""
        return evaluation(self.material.artifact, data, "run", "--max-errors", "0.5", *more)

    def in_set(self, name: str) -> Callable[[Path, bytes | None], None]:
        """The set, with one of its files."""

        def prepare(work: Path, data: bytes | None) -> None:
            copied(self.images, work / "set")
            if data is not None:
                (work / "set" / name).write_bytes(data)

        return prepare

    def with_rows(
        self, change: Callable[[dict[str, Any], str], dict[str, Any]]
    ) -> Callable[[Path, bytes | None], None]:
        """The set, with a text in one of its rows."""

        def prepare(work: Path, data: bytes | None) -> None:
            copied(self.images, work / "set")
            text = (data or b"").decode("utf-8", "surrogateescape")
            changed = [change(row, text) if k == DAMAGED else row for k, row in enumerate(self.rows)]
            lines = "".join(json.dumps(row) + "\n" for row in changed)
            (work / "set" / "manifest.jsonl").write_text(lines)
            texts = csv_of([row | {"boxes": json.dumps(row["boxes"])} for row in changed])
            (work / "set" / "manifest.csv").write_text(texts, encoding="utf-8", errors="surrogatepass")

        return prepare

    def in_copy(
        self, find: Callable[[], Path], name: str, sealed: bool = False
    ) -> Callable[[Path, bytes | None], None]:
        """A copy of an artifact, a checkpoint or a run, with one of its files; ``sealed`` mends its digest."""

        def prepare(work: Path, data: bytes | None) -> None:
            (work / "gate.toml").write_text(POLICY)
            source = find()
            target = copied(source, work / source.name) / name
            before = target.read_bytes()
            if data is None:
                return
            target.write_bytes(data)
            for document in set(target.parent.glob("*.json")) - {target} if sealed else ():
                digests = [hashlib.sha256(content).hexdigest() for content in (before, data)]
                text = document.read_text().replace(*digests)
                document.write_text(text.replace(f'"bytes": {len(before)}', f'"bytes": {len(data)}'))

        return prepare


def plain(name: str) -> Callable[[Path, bytes | None], None]:
    """A file by itself."""

    def prepare(work: Path, data: bytes | None) -> None:
        (work / name).write_bytes(data or b"")

    return prepare


def texts(values: Sequence[str]) -> list[bytes]:
    """As bytes; what is no text becomes the bytes it stands for."""
    return [value.encode("utf-8", "surrogatepass") for value in values]


def coco(inputs: Inputs) -> bytes:
    """The set's boxes in COCO's format."""
    numbered = list(enumerate(inputs.rows))
    images = [{"id": k, "file_name": row["image"], "width": 40 + k % 3, "height": 40} for k, row in numbered]
    boxes = [(k, row["boxes"][0]) for k, row in numbered]
    annotations = [
        {
            "id": k,
            "image_id": k,
            "category_id": 1,
            "bbox": [x, y, x1 - x, y1 - y],
            "segmentation": [[x, y, x1, y, x1, y1, x, y1]]
            if k % 2
            else {"size": [40, 40 + k % 3], "counts": [9, 40, 9]},
        }
        for k, (x, y, x1, y1) in boxes
    ]
    return json.dumps({"images": images, "categories": [{"id": 1, "name": "red"}], "annotations": annotations}).encode()


def of_sets(inputs: Inputs) -> list[Category]:
    """Images, masks, manifests, archives."""
    images, pictures = inputs.images, hostile_files.pictures()

    def manifest(form: str, share: int, made: Sequence[bytes] = ()) -> Category:
        path = f"set/{'images' if form == 'images.parquet' else 'manifest'}.{form.removeprefix('images.')}"
        readers = [inputs.evaluate(path), ["data", "check", path], ["data", "pack", path, "--out", "packed"]]
        name = path.removeprefix("set/")
        return Category(form, share, inputs.in_set(name), (images / name).read_bytes, made, readers)

    picture, mask = f"{DAMAGED}.png", f"{DAMAGED}-mask.png"
    jpeg = hostile_files.saved("JPEG", (60, 50))
    webp = hostile_files.saved("WEBP", (60, 50))
    csv, masks = inputs.evaluate("set/manifest.csv"), inputs.evaluate("set/masks.csv")
    index = ["data", "index", "coco", "set/coco.json", "--images", "set", "--out", "set/coco.csv"]
    tar = [
        inputs.evaluate("set/set.tar"),
        ["data", "check", "set/set.tar"],
        inputs.evaluate("set/set.tar", "--limit", "3"),
    ]
    explain = ["explain", str(inputs.material.artifact), f"set/{picture}", "--out", "heat.png"]
    seen = [csv, csv, ["data", "check", "set/manifest.csv"]]
    archives, tarred = hostile_files.archives(), (images / "set.tar").read_bytes
    drawn = (images / picture).read_bytes
    return [
        Category("png", 300, inputs.in_set(picture), drawn, pictures, [*seen, explain], keeps="boxes"),
        Category("jpeg", 150, inputs.in_set(picture), lambda: jpeg, (), seen, keeps="boxes"),
        Category("webp", 100, inputs.in_set(picture), lambda: webp, (), seen, keeps="boxes"),
        Category("mask", 200, inputs.in_set(mask), (images / mask).read_bytes, pictures, [masks], keeps="masks"),
        manifest("csv", 200, hostile_files.documents()),
        manifest("jsonl", 200, hostile_files.documents()),
        manifest("parquet", 150),
        manifest("images.parquet", 100),
        Category("tar", 250, inputs.in_set("set.tar"), tarred, archives, tar),
        Category(
            "coco", 200, inputs.in_set("coco.json"), lambda: coco(inputs), hostile_files.documents(),
            [index, [*index, "--regions", "masks"]],
        ),
        Category(
            "paths", 100, inputs.with_rows(lambda row, text: row | {"image": text}), lambda: b"set/0.png",
            texts(hostile_files.NAMES), [inputs.evaluate("set/manifest.jsonl"), inputs.evaluate("set/manifest.csv")],
        ),
        Category(
            "labels", 100, inputs.with_rows(lambda row, text: row | {"label": text, "group": text}), lambda: b"red",
            texts(hostile_files.LABELS), [inputs.evaluate("set/manifest.jsonl"), inputs.evaluate("set/manifest.csv")],
        ),
    ]  # fmt: skip


def of_models(inputs: Inputs) -> list[Category]:
    """Artifacts, ONNX files, checkpoints."""
    material, documents = inputs.material, hostile_files.documents()
    artifact = material.artifact
    evaluate = evaluation("artifact", inputs.images / "manifest.csv", "run")
    inspect, made = ["inspect", "artifact"], ["export", "checkpoint", "--out", "made"]
    export = ["export", "onnx:model.onnx", "--out", "made", "--classes", str(material.classes), *EXPORT]
    arrays = [
        b"",
        b"PK\3\4" + b"\0" * 100,
        b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999,)}",
    ]
    headers = [b"", b"\xff" * 8, b"\2\0\0\0\0\0\0\0{}", (2**40).to_bytes(8, "little") + b"{}"]

    def of_artifact(name: str, share: int, by_hand: Sequence[bytes], sealed: bool = True) -> Category:
        readers = [evaluate, inspect]
        return Category(
            name, share, inputs.in_copy(lambda: artifact, name, sealed), (artifact / name).read_bytes, by_hand, readers
        )

    def of_checkpoint(name: str, share: int, by_hand: Sequence[bytes]) -> Category:
        def whole() -> bytes:
            return (material.checkpoint / name).read_bytes()

        prepare = inputs.in_copy(lambda: material.checkpoint, name, sealed=True)
        return Category(name, share, prepare, whole, by_hand, [made], lambda: material.checkpoint)

    return [
        of_artifact("artifact.json", 200, documents, sealed=False),
        of_artifact("pixels.onnx", 100, [b""]),
        of_artifact("parity.npz", 100, arrays),
        Category("onnx", 200, plain("model.onnx"), material.model.read_bytes, [b"", b"\x08" * 100], [export]),
        of_checkpoint("checkpoint.json", 60, documents),
        of_checkpoint("model.safetensors", 40, headers),
    ]


def of_runs(inputs: Inputs) -> list[Category]:
    """Documents of a run, policies, and what stands on the command line."""
    material, documents = inputs.material, hostile_files.documents()
    run = material.run
    readers = [
        ["show", "run"], ["gate", "run", "--policy", "gate.toml"], ["status", "run"],
        ["report", "run", "--out", "r.html"],
        ["compare", "run", str(run)], ["merge", "run", "--out", "merged"],
        evaluation(material.artifact, material.images() / "manifest.csv", "run"),
    ]  # fmt: skip

    def of_run(name: str, share: int) -> Category:
        return Category(name, share, inputs.in_copy(lambda: run, name), (run / name).read_bytes, documents, readers)

    gate = [["gate", str(run), "--policy", "gate.toml"]]
    return [
        of_run("run.json", 200),
        of_run("summary.json", 150),
        Category("policy", 150, plain("gate.toml"), POLICY.encode, documents, gate),
    ]


def arguments(material: Material) -> list[Case]:
    """Names that do not exist or should not be touched, in place of sets, artifacts, runs and sources."""

    def given(name: str, verb: int, folder: Path) -> str:
        work = folder / "work"
        work.mkdir()
        manifest, artifact = str(material.images(COUNT) / "manifest.csv"), str(material.artifact)
        verbs = (
            evaluation(artifact, name, "run"), evaluation(name, manifest, "run"), ["show", name],
            ["data", "check", name],
            ["export", name, "--out", "made"], ["gate", str(material.run), "--policy", name],
        )  # fmt: skip
        if "\0" in name:
            return "no command line can hold it"
        ended = rate(verbs[verb], work)
        if ended.code not in (*OTHERS, 1, 3)[: 5 if verb == 5 else 3]:
            raise Failure("exit code", f"{ended.command[:200]}: {ended.code}: {ended.said.strip()[-300:]}")
        return "reported" if ended.code else "accepted"

    pairs = [(name, verb) for verb in range(6) for name in hostile_files.NAMES]
    return [
        Case(f"hostile/arguments/{k}", lambda folder, name=name, verb=verb: given(name, verb, folder))
        for k, (name, verb) in enumerate(pairs)
    ]


def cases(material: Material) -> list[Case]:
    """All categories, evenly mixed."""
    inputs = Inputs(material)
    whole: dict[str, dict[str, Any]] = {}
    for keeps, data in (("boxes", "set/manifest.csv"), ("masks", "set/masks.csv")):
        work = material.root / f"kept-{keeps}"
        work.mkdir(parents=True)
        copied(inputs.images, work / "set")
        rate(inputs.evaluate(data), work)
        whole[keeps] = rows.rows(work / "run")
        shutil.rmtree(work / "set")
    found = arguments(material)
    for category in (*of_sets(inputs), *of_models(inputs), *of_runs(inputs)):
        found += [
            Case(
                f"hostile/{category.name}/{k}",
                lambda folder, c=category, k=k: tried(c, k, whole.__getitem__, folder),
                category.needs,
            )
            for k in range(category.share)
        ]
    random.Random("hostile").shuffle(found)
    return found
