"""The page as a file: what is in it, what cannot get in, how large it becomes, and when it is refused."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pyarrow.compute as pc
import pytest
import report_runs
from fsspec.implementations.memory import MemoryFileSystem
from msgspec import structs
from PIL import Image
from report_runs import Plan, write_run

from rate.data.evaluation_set import read_evaluation_set
from rate.errors import ConfigError, RunError, UsageError
from rate.report.heads import load_heads
from rate.report.html.embedded import embedded_json
from rate.report.html.page import Report, titles, write_report
from rate.runs import run_document
from rate.runs.part_list import PartLog
from rate.runs.parts import read_rows, write_part
from rate.runs.run_document import read_run

EVIL = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "--><!--<b>",
    "\u2028'\u2029`\\",
)


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.raw.append((self._open, data))
        else:
            self.text.append(data)

    def of(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.found
            if name == tag and (kind is None or kind in (attributes.get("class") or "").split())
        ]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def written(root: Path, plan: Plan, **options: object) -> tuple[Report, str]:
    folder = write_run(root, plan)
    report = write_report(load_heads(str(folder)), root / "report.html", **options)
    return report, report.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, str]:
    return written(tmp_path_factory.mktemp("usual"), Plan(heads=("zs", "lp"), errors=3))


def data_of(page: str) -> dict:
    [text] = [text for kind, text in Elements(page).raw if kind == "script" and text.startswith("{")]
    return json.loads(text)


def test_the_numbers_are_those_of_the_summary(usual: tuple[Report, str]) -> None:
    report, page = usual
    words = Elements(page).words
    found = data_of(page)
    assert found["schema"] == "rate.report/1"
    assert [head["name"] for head in found["heads"]] == ["zs", "lp"] == list(report.heads)
    for head in found["heads"]:
        summary = head["summary"]
        for metric in (summary["accuracy"], summary["pt"], summary["ir"]):
            assert f"{metric['value']:.3f}" in words
            assert f"{metric['low']:.3f}–{metric['high']:.3f}" in words
            assert f"{metric['numerator']} of {metric['denominator']}" in words
        for name in ("uniform", "shuffled"):
            value = summary["pt"][name]
            assert f"{name} {'undefined' if value is None else f'{value:.3f}'}" in words
    assert report.bytes == len(page.encode())


def test_undefined_and_errors_are_counted_by_name(usual: tuple[Report, str]) -> None:
    words = Elements(usual[1]).words
    assert "3 undefined: 3 zero-evidence" in words
    assert "3 errors" in words
    assert "24.png: no such file" in words
    assert "3 for this reason, such as s0024" in words
    assert "FILE: no such file" in words


def test_the_same_heads_give_the_same_bytes(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan())
    pages = [write_report(load_heads(str(folder)), tmp_path / name).path.read_bytes() for name in ("1.html", "2.html")]
    assert pages[0] == pages[1]


def test_nothing_is_loaded_from_elsewhere(usual: tuple[Report, str]) -> None:
    elements = Elements(usual[1])
    for tag, attributes in elements.found:
        for name in ("src", "href", "action", "srcset", "poster", "data", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes  # the policy would ignore it
    assert not re.search(
        r"url\(|@import|https?:", "".join(text for _, text in elements.raw if not text.startswith("{"))
    )


def test_the_policy_allows_this_style_and_this_script_alone(usual: tuple[Report, str]) -> None:
    elements = Elements(usual[1])
    [policy] = [a["content"] for a in elements.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data:"
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        [text] = [text for name, text in elements.raw if name == kind and not text.startswith("{")]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert directives[f"{kind}-src"] == f"'sha256-{digest}'"


@pytest.mark.parametrize("evil", EVIL)
def test_names_from_the_data_stay_text(tmp_path: Path, evil: str) -> None:
    """As class, head and group; the elements of the page are those of the same page with plain names."""
    plan = Plan(count=8, heads=(evil,), classes=(evil, "bee"), errors=1)
    _, page = written(tmp_path / "evil", plan)
    _, plain = written(tmp_path / "plain", Plan(count=8, heads=("zs",), classes=("ant", "bee"), errors=1))
    elements = Elements(page)
    assert [tag for tag, _ in elements.found] == [tag for tag, _ in Elements(plain).found]
    assert evil.split()[0] in html.unescape(page)
    found = data_of(page)
    assert found["heads"][0]["name"] == evil
    assert evil in {row[2] for row in found["slices"]["rows"]}


@pytest.mark.parametrize("evil", EVIL)
def test_ids_and_errors_stay_text(tmp_path: Path, evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are names of files as a rule, and errors quote them."""
    plan = Plan(count=8, errors=1)
    _, plain = written(tmp_path / "plain", plan)
    own = report_runs.row
    monkeypatch.setattr(report_runs, "identifier", lambda k: f"{evil}{k}.png")

    def failing(head: str, k: int, plan: Plan) -> dict:
        made = own(head, k, plan)
        return made | {"error": made["error"] and f"{evil}: no such file"}

    monkeypatch.setattr(report_runs, "row", failing)
    _, page = written(tmp_path / "evil", plan)
    elements = Elements(page)
    assert [tag for tag, _ in elements.found] == [tag for tag, _ in Elements(plain).found]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert html.unescape(page).count(f"{evil}: no such file") >= 1


@pytest.mark.parametrize("evil", EVIL)
def test_embedded_json_reads_back_and_holds_no_markup(evil: str) -> None:
    text = embedded_json({evil: [evil, None, 0.5]})
    assert json.loads(text) == {evil: [evil, None, 0.5]}
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_gallery_is_stratified_and_capped(tmp_path: Path) -> None:
    report, page = written(tmp_path, Plan(count=64, heads=("zs", "lp")), max_samples=30)
    assert report.samples == report.pictures == 30
    counts = [
        page[start:].partition("</section>")[0].count('class="card"')
        for start in (match.start() for match in re.finditer(r'<section class="group"', page))
    ]
    assert sum(counts) == 30
    assert len(counts) == 5
    assert max(counts) - min(counts) <= 2
    assert report.notices == ()


def test_pictures_are_those_of_the_set_and_shared_by_the_heads(usual: tuple[Report, str]) -> None:
    report, page = usual
    elements = Elements(page)
    stored = [a for a in elements.of("image") if (a.get("id") or "").startswith("picture-")]
    assert report.samples == 48
    assert len(stored) == 24
    kind, _, payload = str(stored[0]["href"]).partition(",")
    assert kind == "data:image/webp;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(payload))).convert("RGB"), np.float64)
    assert pixels[:20, :20].mean() == pytest.approx(230, abs=4)
    assert pixels[28:, 28:].mean() == pytest.approx(90, abs=4)


def test_no_samples_no_gallery(tmp_path: Path) -> None:
    report, page = written(tmp_path, Plan(), max_samples=0)
    assert report.samples == 0
    assert 'id="samples"' not in page
    assert 'href="#samples"' not in page


def test_without_its_data_the_report_is_made_without_pictures(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan(count=8))
    moved = shutil.move(tmp_path / "set", tmp_path / "moved")
    heads = load_heads(str(folder))
    report = write_report(heads, tmp_path / "without.html")
    assert (report.samples, report.pictures) == (8, 0)
    assert any("--data MANIFEST" in text for text in report.notices)
    page = report.path.read_text()
    assert page.count('class="blank"') == 8
    assert page.count('class="heat"') == 8
    assert page.count('class="outline"') == 8
    again = write_report(heads, tmp_path / "with.html", data=Path(moved) / "manifest.csv")
    assert (again.samples, again.pictures, again.notices) == (8, 8, ())


def test_one_missing_image_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan(count=8))
    (tmp_path / "set" / "3.png").unlink()
    report = write_report(load_heads(str(folder)), tmp_path / "report.html")
    assert (report.samples, report.pictures) == (8, 7)
    [notice] = report.notices
    assert "3.png" in notice


def test_another_set_under_the_same_ids_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan(count=8))
    manifest = tmp_path / "set" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("ant", "gnu"))
    report = write_report(load_heads(str(folder)), tmp_path / "report.html")
    [notice] = report.notices
    assert "is not what" in notice
    assert "--data" in notice
    assert report.pictures == 0  # run.json alone shows nothing but the set that was evaluated
    report = write_report(load_heads(str(folder)), tmp_path / "again.html", data=manifest)
    assert report.pictures == 8
    assert "is not what" in report.notices[0]


class Watched(MemoryFileSystem):
    """A storage that notes what is asked of it."""

    protocol = "watched"
    asked: ClassVar[list[str]] = []

    def __getattribute__(self, name: str) -> object:
        if name in ("open", "_open", "info", "ls", "cat_file", "get_file", "glob", "exists"):
            Watched.asked.append(name)
        return super().__getattribute__(name)


def test_a_run_of_somebody_else_makes_nothing_be_fetched(tmp_path: Path) -> None:
    """Neither a remote set, nor the remote images of a local one, nor other files of this machine."""
    fsspec.register_implementation("watched", Watched, clobber=True)
    folder = write_run(tmp_path, Plan(count=8))
    record = folder / "run.json"
    document = json.loads(record.read_text())
    manifest = tmp_path / "set" / "manifest.csv"
    remote = tmp_path / "set" / "remote.jsonl"
    with manifest.open() as file:
        rows = [{**row, "image": f"watched://host/{row['image']}"} for row in csv.DictReader(file)]
    remote.write_text("".join(json.dumps(row) + "\n" for row in rows))
    digest = read_evaluation_set(str(remote)).digest
    Watched.asked.clear()
    for number, data in enumerate(("watched://host/set.tar", "simplecache::watched://host/set.tar", str(remote))):
        document["origin"]["data"] = data
        document["identity"]["data"] = digest
        record.write_text(json.dumps(document))
        report = write_report(load_heads(str(folder)), tmp_path / f"{number}.html")
        assert report.pictures == 0
        assert "--data" in report.notices[0]
    assert Watched.asked == []
    for row in rows:
        content = (tmp_path / "set" / row["image"].rpartition("/")[2]).read_bytes()
        fsspec.filesystem("watched").pipe(row["image"], content)
    report = write_report(load_heads(str(folder)), tmp_path / "asked.html", data=remote)
    assert report.pictures == 8
    assert Watched.asked


def test_without_saved_maps_the_sketches_stand_in(tmp_path: Path) -> None:
    report, page = written(tmp_path, Plan(count=8, maps=0))
    assert report.samples == 8
    assert page.count("coarse, 14 × 14: none was saved") == 8


def test_damaged_maps_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan(count=8))
    (folder / "maps" / "maps.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"maps\.parquet"):
        write_report(load_heads(str(folder)), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_a_large_run_stays_below_three_megabytes(tmp_path: Path) -> None:
    """Five thousand samples, a thousand classes, two hundred different pictures that hardly compress."""
    classes = tuple(f"class number {k}" for k in range(1000))
    plan = Plan(count=5000, classes=classes, side=224, noise=True, pictures=200, maps=200)
    report, page = written(tmp_path, plan)
    assert report.pictures == 200
    assert page.count('id="picture-') == 200
    assert len(data_of(page)["slices"]["rows"]) == 1000
    assert report.bytes < 3e6


@pytest.mark.parametrize("status", ["running", "partial", "failed"])
def test_a_run_that_is_not_complete_says_so_first(tmp_path: Path, status: str) -> None:
    _, page = written(tmp_path, Plan(count=8, status=status))
    words = Elements(page).words
    assert f"run is {status}." in words
    assert words.index(f"run is {status}.") < words.index("PT")
    assert 'role="alert"' in page


def test_a_complete_run_has_no_warning(usual: tuple[Report, str]) -> None:
    assert 'role="alert"' not in usual[1]


def test_heads_that_measured_different_things_are_warned_of(tmp_path: Path) -> None:
    first = write_run(tmp_path, Plan(count=8), "one")
    second = write_run(tmp_path, Plan(count=8, measurement={"tau": 0.7}), "two")
    heads = load_heads(str(first)) + load_heads(str(second))
    page = write_report(heads, tmp_path / "report.html").path.read_text()
    words = Elements(page).words
    assert "These heads measured different things" in words
    assert "measurement.tau: 0.5 in one@zs, 0.7 in two@zs" in words
    assert "one@zs against" not in words
    assert 'id="changed"' not in page


def test_adaptive_masks_hide_the_sweep_with_a_sentence(tmp_path: Path) -> None:
    _, fixed = written(tmp_path / "fixed", Plan(count=8))
    _, adaptive = written(tmp_path / "adaptive", Plan(count=8, settled="decided"))
    assert 'class="line pt"' in fixed
    assert 'class="line pt"' not in adaptive
    assert "stopping early for one threshold biases all others" in Elements(adaptive).words


@pytest.mark.parametrize("kept", ["nothing", "errors"])
def test_a_run_without_any_prediction_has_a_report(tmp_path: Path, kept: str) -> None:
    folder = write_run(tmp_path, Plan(count=1, errors=2, status="failed", group=True))
    run = read_run(folder)
    rows = read_rows(folder, run)
    rows = rows.filter(pc.is_valid(rows["error"])) if kept == "errors" else rows.slice(0, 0)
    parts = [write_part(folder, run.key, rows)] if len(rows) else []
    PartLog(folder).replace(parts)
    run_document.write_run(folder, structs.replace(run, sessions=(), rows=len(rows)))
    report = write_report(load_heads(str(folder)), tmp_path / "report.html")
    words = Elements(report.path.read_text()).words
    assert report.samples == 0
    assert "PT is undefined" in words
    assert f"{len(rows)} errors" in words
    assert ("2 more could not be predicted" in words) == bool(len(rows))
    assert words.count("no such file") == (len(rows) + 1 if len(rows) else 0), "each of them, and their reason"


def test_a_run_without_any_verdict_has_a_report(tmp_path: Path) -> None:
    report, page = written(tmp_path, Plan(count=1, quadrants=("undefined",)))
    assert report.samples == 1
    assert "PT is undefined" in Elements(page).words
    words = Elements(page).words
    assert "No prediction has a verdict." in words
    assert "PT and IR are undefined at every threshold." in words


def test_every_table_has_scoped_headers_and_every_control_a_name(usual: tuple[Report, str]) -> None:
    elements = Elements(usual[1])
    assert {a.get("scope") for a in elements.of("th")} <= {"col", "row"}
    for svg in elements.of("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label")), svg
    assert all(a.get("type") in ("button", "submit") for a in elements.of("button"))
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))


def test_titles_are_as_short_as_is_unique(tmp_path: Path) -> None:
    plan = Plan(count=4, heads=("zs", "lp"))
    one, two = (load_heads(str(write_run(tmp_path / side, plan))) for side in ("a", "b"))
    other = load_heads(str(write_run(tmp_path / "a", plan, "other")))
    assert titles(one) == ["zs", "lp"]
    assert titles(one[:1] + other[:1]) == ["run@zs", "other@zs"]
    assert titles(one[:1] + two[:1]) == [f"{tmp_path}/a/run@zs", f"{tmp_path}/b/run@zs"]


def test_a_file_is_never_replaced_unless_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan(count=4))
    out = tmp_path / "report.html"
    out.write_text("mine")
    heads = load_heads(str(folder))
    with pytest.raises(UsageError, match="--force"):
        write_report(heads, out)
    assert out.read_text() == "mine"
    write_report(heads, out, force=True)
    assert out.read_text().startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("out", "samples", "error", "message"),
    [
        ("report.pdf", 1, ConfigError, r"must end in \.html"),
        ("report.html", -1, ConfigError, "0 or more, got -1"),
        ("folder.html", 1, UsageError, "is a folder"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, out: str, samples: int, error: type[Exception], message: str
) -> None:
    folder = write_run(tmp_path, Plan(count=4))
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(error, match=message):
        write_report(load_heads(str(folder)), tmp_path / out, max_samples=samples, force=True)
    with pytest.raises(UsageError, match="at least one RUN"):
        write_report([], tmp_path / "report.html")


def test_the_templates_are_part_of_the_package() -> None:
    folder = resources.files("rate.report.html") / "templates"
    names = {path.name for path in folder.iterdir()}
    assert {"report.html.j2", "report.css", "report.js"} <= names
    assert all(path.read_text(encoding="utf-8") for path in folder.iterdir())


def test_the_plan_of_these_tests_is_a_run_as_it_is_stored(tmp_path: Path) -> None:
    import jsonschema

    from rate.report.schemas import all_schemas

    folder = write_run(tmp_path, Plan(count=2))
    jsonschema.validate(json.loads((folder / "run.json").read_text()), all_schemas()["run"])
    assert load_heads(str(folder))[0].summary.rows == 2
