"""What the documents name is there: commands, options and their values, files, links, schemas, exit codes, limits."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rate
from rate import errors
from rate.artifacts.parity import ERROR, TOLERANCE
from rate.bench.settings import LADDER
from rate.cli.main import command
from rate.config import Measurement
from rate.data.formats.row_groups import GROUP_BYTES, HELD_BYTES
from rate.data.images.drawn_masks import MOST_CROSSINGS
from rate.data.images.prepare import SCANS
from rate.data.make.coco import MAX_JSON_BYTES
from rate.data.remaining import REMOTE_CHECKS
from rate.data.storage.cache import CACHE_BYTES
from rate.data.storage.limits import ACCESS_SECONDS, MAX_BYTES, MAX_PIXELS, REMOTE_SECONDS
from rate.engine.workers.chunks import CHUNK_SECONDS
from rate.execution import BATCH, GPU_BATCH, Execution
from rate.export.options import PLAN_BATCH, ExportOptions
from rate.files import MAX_BYTES as LARGEST_READ
from rate.option import options_of
from rate.records import MAX_DEPTH
from rate.report.gate import decide, policy
from rate.report.gate.markdown import LIMIT as MARKDOWN_BYTES
from rate.report.schemas import all_schemas
from rate.runs.parts import PART_SECONDS
from rate.statistics.intervals import MIN_CLUSTERS

ROOT = Path(rate.__file__).parent.parent
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))}
DOCUMENTS = sorted(TEXTS.keys() - {"CHANGELOG.md"})  # it tells of names that are gone
WHOLE = command()
OF_OTHERS = {"--gpus", "--cpu-smoke", "--case"}
"""Options of docker and of benchmarks that stand alone in a text."""

CHOICES: dict[str, set[str]] = {}
for kind in (Measurement, Execution, ExportOptions):
    for field, one in options_of(kind).items():
        CHOICES.setdefault(f"--{field.replace('_', '-')}", set()).update(one.choices)


def blocks(text: str) -> list[tuple[str, str]]:
    """The kind and the content of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """The code in a text: inline spans, and lines of blocks, each with the lines of options that continue it."""
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    lines = [re.sub(r">?\s*\n\s+(?=--|rate )", " ", content).splitlines() for _, content in blocks(text)]
    return [" ".join(span.split()) for span in (*inline, *(line for content in lines for line in content))]


def options(one: Any) -> dict[str, Any]:
    """The options of a command by their names."""
    return {name: option for option in one.params for name in option.opts if name.startswith("--")}


def verbs(one: Any = WHOLE) -> Iterator[Any]:
    yield one
    for inner in getattr(one, "commands", {}).values():
        yield from verbs(inner)


EVERYWHERE = {name for one in verbs() for name in options(one)} | {"--help"}


def said(text: str) -> Iterator[tuple[Any, list[str]]]:
    """Each command of `rate` in a text, with the words behind it."""
    for span in spans(text):
        for line in re.findall(r"(?:^|[\s(!])rate ([a-z-]+\b.*)", span):
            words = re.split(r"\s(?:\||\|\||&&|#|;|<)\s|; ", line)[0].split()
            one: Any = WHOLE
            while words and (inner := getattr(one, "commands", {})):
                names = words.pop(0).strip(",;").split("|")
                assert set(names) <= inner.keys(), f"`rate {line}`: {names} is none of {', '.join(inner)}"
                one = inner[names[0]]
            yield one, words


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_option_exists_and_takes_the_value(name: str) -> None:
    for one, words in said(TEXTS[name]):
        for word, value in zip(words, [*words, ""][1:], strict=True):
            flag = word.partition("=")[0].strip("[],")
            if re.fullmatch(r"--[a-z][a-z-]*", flag):
                assert flag in {*options(one), "--help"}, f"rate {one.name} has no {flag}"
                values = re.split(r"[,|]", value) if value.islower() and not value.startswith("-") else []
                assert set(values) <= (CHOICES.get(flag) or {*values}), f"{flag} takes no {value}"
    alone = [span for span in spans(TEXTS[name]) if span.startswith("--")]
    assert {flag for span in alone for flag in re.findall(r"(?:^|\s)(--[a-z-]+)", span)} <= EVERYWHERE | OF_OTHERS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_and_link_leads_somewhere(name: str) -> None:
    folder = ROOT if (ROOT / name).exists() else ROOT / "docs"
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)]*)\)", TEXTS[name]):
        if not target.startswith("https://"):
            path = folder / target if target else folder / name
            assert path.exists(), target
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in titles]
    for path in re.findall(r"`((?:benchmarks|tests|examples|rate|docs)/[\w./*-]*)[` ]", TEXTS[name]):
        assert list(ROOT.glob(path)), path
    for module in re.findall(r"-m (benchmarks[\w.]*)", TEXTS[name]):
        path = ROOT.joinpath(*module.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


def test_every_result_of_the_tables_of_speed_is_there() -> None:
    named = re.findall(r"`([\w*]+\.(?:json|csv|txt))`", TEXTS["speed.md"])
    assert len(named) > 10
    for name in named:
        assert list((ROOT / "benchmarks" / "results").glob(name)), name


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_schema_variable_extra_and_function_exists(name: str) -> None:
    text, schemas = TEXTS[name], all_schemas()
    assert set(re.findall(r"`rate schema (\w+)`", text)) <= schemas.keys()
    assert set(re.findall(r"\brate\.\w+/\d+", text)) <= {schema.get("$id") for schema in schemas.values()}
    known = {option.envvar for one in verbs() for option in options(one).values()} | {"RATE_CACHE", "RATE_TEST_DATA"}
    limits = {"RATE_CACHE_BYTES", "RATE_MAX_BYTES", "RATE_MAX_PIXELS", "RATE_REMOTE_SECONDS", "RATE_ACCESS_SECONDS"}
    limits |= {"RATE_RAY_SECONDS"}
    assert set(re.findall(r"RATE_[A-Z_]*[A-Z]", text)) <= known | limits
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {extra for named in re.findall(r"(?:rate-engine|`)\[([a-z0-9,]+)\]", text) for extra in named.split(",")}
    assert extras <= project["optional-dependencies"].keys()
    for kind, content in blocks(text):
        if kind == "python":
            ast.parse(content)
            assert set(re.findall(r"\brate\.(\w+)", content)) <= {*rate.__all__}
        elif kind == "toml":
            policy.read_policy(tomllib.loads(content))


def rows(name: str, header: str) -> list[list[str]]:
    """The cells of the table below the line that begins with a header."""
    [table] = re.findall(rf"^{re.escape(header)}.*\n\|[-|]+\n((?:\|.*\n)+)", TEXTS[name], re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_tables_of_exit_codes_are_those_of_the_errors() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code, _ in rows("operations.md", "| exit code | meaning |")} == codes
    gate = {int(code): verdict for code, verdict, _ in rows("gates.md", "| exit code | verdict |")}
    assert {verdict: code for code, verdict in gate.items() if verdict} == decide._EXIT
    assert gate.keys() == codes - {errors.EXIT_INTERRUPTED}


def test_the_table_of_a_policy_names_every_key_and_value() -> None:
    named, last = dict[str, set[str]](), ""
    for key, values, _ in rows("gates.md", "| key | values |"):
        last = key.strip("`") or last
        named.setdefault(last, set()).update(re.findall(r"`(\w+)`", values))
    expected = {"metric": policy.METRICS, "bound": policy.BOUNDS, "use": policy.USES, "slice": policy.SLICES}
    assert {key: named[key] for key in expected} == {key: set(values) for key, values in expected.items()}
    assert named["severity"] == {*policy.SEVERITIES}


def test_the_table_of_limits_has_their_defaults() -> None:
    defaults = {
        name.strip("`"): default for name, _, default in rows("operations.md", "| variable | bounds | default |")
    }
    assert defaults == {
        "RATE_MAX_BYTES": f"{MAX_BYTES >> 30} GiB",
        "RATE_MAX_PIXELS": f"{MAX_PIXELS:,}",
        "RATE_REMOTE_SECONDS": f"{REMOTE_SECONDS:g}",
        "RATE_ACCESS_SECONDS": f"{ACCESS_SECONDS:g}",
    }


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("cluster.md", f"chunks of about {CHUNK_SECONDS:g} seconds"),
        ("data.md", f"intervals and tests take a cluster as one unit, from {MIN_CLUSTERS} on"),
        ("gates.md", f"where {MIN_CLUSTERS} or more of them lie behind the share"),
        ("gates.md", f"below {MARKDOWN_BYTES // 1000} kB"),
        (
            "gpu.md",
            f"**{GPU_BATCH} rows a forward**, where a CPU has {BATCH}",
        ),
        ("gpu.md", f"`rate bench` climbs to {LADDER[-1]}"),
        ("gpu.md", f"an error of the scores of at most {ERROR:g} of their spread"),
        ("models.md", f"a logit that differs by more than {TOLERANCE:.0e} of the largest".replace("e-0", "e-")),
        ("operations.md", f"at least every {PART_SECONDS:g} seconds"),
        ("operations.md", f"(a worker's chunk takes about {CHUNK_SECONDS:g})"),
        ("operations.md", f"URL of their own about {REMOTE_CHECKS} are read"),
        ("operations.md", f"a limit of {LARGEST_READ >> 20} MB and {MAX_DEPTH} levels"),
        ("operations.md", f"more than {SCANS} scans"),
        ("operations.md", f"cross {MOST_CROSSINGS // 10**6} million rows of pixels"),
        ("runtimes.md", f"be {ERROR:g} of their spread"),
        ("sources.md", f"members over {MAX_BYTES >> 30} GiB"),
        ("sources.md", f"keeps up to {HELD_BYTES >> 20} MiB of them"),
        ("sources.md", f"decompresses to more than {GROUP_BYTES >> 30} GiB"),
        ("sources.md", f"(default {CACHE_BYTES >> 30} GiB)"),
        ("sources.md", f"may have {MAX_JSON_BYTES >> 20} MiB (`--max-json-bytes`)"),
        ("tensorrt.md", f"by default {PLAN_BATCH[0]} and {PLAN_BATCH[1]}"),
    ],
)
def test_numbers_in_sentences_are_those_of_the_code(name: str, claim: str) -> None:
    assert claim in " ".join(TEXTS[name].split())
