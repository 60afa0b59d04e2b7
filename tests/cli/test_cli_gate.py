"""`rate gate` on a real run, from the command line inwards: exit codes, and outputs that agree with each other."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import typer
import yaml
from gate_runs import states, write_run

import rate
from rate.cli.main import app, run
from rate.config import Measurement
from rate.records import written
from tests.conftest import write_images

ROOT = Path(rate.__file__).parent.parent
GUIDES = [ROOT / "docs" / name for name in ("gates.md", "pipelines.md")]
FEW = ("--masks", "24", "--batch", "8", "--threads", "1", "--backend", "onnxruntime")
LOOSE = '[[check]]\nmetric = "accuracy"\nmin = 0.01\n'
STRICT = '[[check]]\nmetric = "pt"\nmin = 0.9\n[[check]]\nmetric = "errors"\nmax = 0\n'
WIDE = '[[check]]\nmetric = "accuracy"\nmin = 0.8\n'


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gated") / "run"
    assert run(["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), *FEW]) == 0
    return out


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two heads of known states: ft has PT 60/100, zs has PT 90/100."""
    return write_run(tmp_path / "made", {"ft": states(rr=60, rw=40), "zs": states(rr=90, rw=10)})


def policy(folder: Path, text: str) -> str:
    path = folder / "gate.toml"
    path.write_text(text)
    return str(path)


def gate(*arguments: str | Path) -> int:
    return run(["gate", *map(str, arguments)])


def test_a_real_run_passes_what_it_reaches_and_shows_its_numbers(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = LOOSE + '[[check]]\nmetric = "forwards"\nmax = 25\n[[check]]\nmetric = "images_per_s"\nmin = 0.001\n'
    assert gate(finished, "--policy", policy(tmp_path, checks), "--baseline", f"{finished}@lp") == 0
    lines = capsys.readouterr().out.splitlines()
    head = json.loads((finished / "summary.json").read_text())["heads"]["lp"]
    assert len(lines) >= 5, "three results, a note or more, the verdict"
    assert f"{head['accuracy']['numerator']}/{head['accuracy']['denominator']}" in lines[1]
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")][:3] == ["pass"] * 3
    assert lines[-1].startswith("gate passed: run@lp")
    assert any(line.startswith("note: ") and "compared with itself" in line for line in lines)


@pytest.mark.parametrize(("text", "code"), [(LOOSE, 0), (STRICT, 1), (WIDE.replace("accuracy", "pt"), 1)])
def test_exit_code_json_junit_markdown_and_the_api_agree(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    junit, markdown = tmp_path / "out" / "gate.xml", tmp_path / "out" / "gate.md"
    arguments = (f"{made}@ft", "--policy", policy(tmp_path, text), "--junit", junit, "--markdown", markdown)
    assert gate(*arguments, "--json") == code
    found = json.loads(capsys.readouterr().out)
    assert run(["schema", "gate"]) == 0
    jsonschema.validate(found, json.loads(capsys.readouterr().out))
    [suite] = ET.parse(junit).getroot()
    assert found["exit_code"] == code
    assert int(suite.get("failures")) == found["counts"].get("fail", 0) == (code == 1)
    assert f"rate gate: {'✅' if code == 0 else '❌'} {found['verdict']}" in markdown.read_text(encoding="utf-8")
    decision = rate.gate(f"{made}@ft", tmp_path / "gate.toml")
    assert json.loads(written(decision.document)) == found
    assert decision.passed == (code == 0)


def test_an_interval_that_holds_the_threshold_is_exit_code_3(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = '[[check]]\nmetric = "pt"\nmin = 0.62\n'
    assert gate(f"{made}@ft", "--policy", policy(tmp_path, checks)) == 3
    said = capsys.readouterr().out
    assert "correct predictions would decide" in " ".join(said.split())
    assert "gate inconclusive: made@ft" in said
    assert gate(f"{made}@ft", "--policy", policy(tmp_path, checks + 'severity = "warn"\n' + LOOSE)) == 0


def test_a_drop_between_heads_of_one_run(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = policy(tmp_path, '[[check]]\nmetric = "pt"\nmax_drop = 0.1\n')
    assert gate(f"{made}@ft", "--policy", checks, "--baseline", f"{made}@zs", "--json") == 1
    [check] = json.loads(capsys.readouterr().out)["checks"]
    assert check["value"] == pytest.approx(-0.3)
    assert (check["candidate"], check["baseline"]) == (0.6, 0.9)
    assert gate(f"{made}@zs", "--policy", checks, "--baseline", f"{made}@ft") == 0


def test_the_markdown_of_two_gates_is_in_one_file(made: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("what was there\n")
    for head in ("ft", "zs"):
        assert gate(f"{made}@{head}", "--policy", policy(tmp_path, LOOSE), "--markdown", summary) == 0
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("what was there\n")
    assert text.count("## rate gate") == 2


def test_a_partial_run_needs_to_be_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = write_run(tmp_path / "cut", {"ft": states(rr=50)}, status="partial", samples={"planned": 50, "available": 80})
    junit, markdown = tmp_path / "gate.xml", tmp_path / "gate.md"
    checks = policy(tmp_path, LOOSE)
    assert gate(cut, "--policy", checks, "--junit", junit) == 2
    assert "cut@ft is partial" in capsys.readouterr().err
    assert not junit.exists()
    assert gate(cut, "--policy", checks, "--junit", junit, "--markdown", markdown, "--allow-partial") == 0
    captured = capsys.readouterr()
    for text in (captured.out, junit.read_text(), markdown.read_text(encoding="utf-8")):
        assert "decided on 50 of 80 samples" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{made}"], "has 2 heads and one is needed"),
        (["{made}@lp"], "has no head 'lp'"),
        (["{made}-gone"], "is not a run folder"),
        (["{made}@ft", "--junit", "{folder}"], "is a folder; name a file in it"),
        (["{made}@ft", "--junit", "{folder}/gate.toml/x.xml"], "cannot be written"),
        (["{made}@ft", "--markdown", "{folder}/gate.toml/x.md"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    checks = policy(tmp_path, STRICT)
    filled = [argument.format(made=made, folder=tmp_path) for argument in arguments]
    before = sorted(tmp_path.rglob("*"))
    assert gate(*filled, "--policy", checks) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "has no checks"), (LOOSE + "maks = 3\n", "check 1: maks"), (LOOSE + "max_drop = 0.1\n", "check 1: bound")],
)
def test_a_policy_that_cannot_be_used_is_exit_code_2(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert gate(f"{made}@ft", "--policy", policy(tmp_path, text)) == 2
    assert message in capsys.readouterr().err


def test_other_measurements_and_a_missing_baseline_are_exit_code_2(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_run(tmp_path / "other", {"zs": states(rr=100)}, measurement=Measurement(masks=25).to_json())
    checks = policy(tmp_path, '[[check]]\nmetric = "pt"\nmax_drop = 0.1\n')
    assert gate(f"{made}@ft", "--policy", checks) == 2
    assert "needs a baseline; add --baseline RUN" in capsys.readouterr().err
    assert gate(f"{made}@ft", "--policy", checks, "--baseline", other) == 2
    assert "measurement.masks: 25 in other@zs, 100 in made@ft" in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_exit_code_4_with_the_verdict(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """/dev/full: every write fails as on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert gate(f"{made}@ft", "--policy", policy(tmp_path, LOOSE), "--markdown", "/dev/full") == 4
    captured = capsys.readouterr()
    assert "gate passed" in captured.out
    assert "the gate is passed, and " in captured.err
    assert "No space left" in captured.err


def test_a_missing_policy_is_a_usage_error(made: Path) -> None:
    assert gate(f"{made}@ft") == 2


def options_of(command: str) -> set[str]:
    found = typer.main.get_command(app).commands[command].params
    return {option for parameter in found for option in parameter.opts}


def test_every_command_in_the_guide_has_the_options_it_is_given() -> None:
    lines = [line for guide in GUIDES for line in guide.read_text(encoding="utf-8").splitlines()]
    commands = [shlex.split(line) for line in lines if re.match(r"rate (eval|gate) ", line)]
    assert len(commands) >= 2
    for words in commands:
        given = {word for word in words if word.startswith("--")}
        assert given <= options_of(words[1]), words


def test_every_snippet_of_the_guide_gives_inputs_that_exist() -> None:
    text = "".join(guide.read_text(encoding="utf-8") for guide in GUIDES)
    snippets = re.findall(r"```(yaml|python)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in snippets] == ["yaml", "yaml", "yaml", "python"]
    github, gitlab, hooks = (yaml.safe_load(content) for kind, content in snippets if kind == "yaml")
    files = ("action.yml", "templates/rate-gate.yml", ".pre-commit-hooks.yaml")
    action, component, known = (next(yaml.safe_load_all((ROOT / name).read_text())) for name in files)
    assert set(github["jobs"]["gate"]["steps"][1]["with"]) <= set(action["inputs"])
    assert set(gitlab["include"][0]["inputs"]) <= set(component["spec"]["inputs"])
    assert {hook["id"] for hook in hooks["repos"][0]["hooks"]} == {hook["id"] for hook in known}


def test_check_names_every_file_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    policy(tmp_path, LOOSE)
    (tmp_path / "bad.toml").write_text('[[check]]\nmetric = "pt"\nmin = 2\n')
    write_images(tmp_path / "set", 3, 16)
    good = ["gate.toml", "set/manifest.csv"]
    assert run(["check", *good]) == 0
    assert "3 samples looked at" in capsys.readouterr().out
    (tmp_path / "set" / "0.png").unlink()
    assert run(["check", *good, "bad.toml", "none.csv"]) == 2
    captured = capsys.readouterr()
    assert "0.png" in captured.out
    assert "bad.toml: check 1" in captured.err
    assert captured.err.splitlines()[-1].startswith("error: set/manifest.csv, bad.toml, none.csv cannot be used")
