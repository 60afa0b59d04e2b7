"""The files with which others put `rate` into their pipelines are valid, and their steps do what they say.

A shell runs the steps here, as the runners of GitHub and GitLab do; those runners themselves do not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from gate_runs import states, write_run

import rate
from rate.artifacts.artifact import Artifact
from tests.conftest import write_images

ROOT = Path(rate.__file__).parent.parent
BIN = Path(sys.executable).parent
BOUNDS = {0: 0.5, 1: 0.99, 3: 0.9}
VERDICTS = {0: "passed", 1: "failed", 3: "inconclusive"}


def policy_of(folder: Path, code: int) -> Path:
    """A policy by which the run of `ready` has this exit code."""
    (folder / "gate.toml").write_text(f'[[check]]\nmetric = "pt"\nmin = {BOUNDS[code]}\n')
    return folder / "gate.toml"


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A folder with a finished run of one head, PT 0.9 of 100."""
    write_run(tmp_path / "run", {"ft": states(rr=90, rw=10)})
    return tmp_path


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as `shell: bash` of GitHub does."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


# GitHub

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def act(folder: Path, **given: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the steps of the action; the last process, and the outputs of the step `gate`."""
    inputs = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    assert set(given) <= {name.replace("-", "_") for name in inputs}
    inputs |= {name.replace("_", "-"): value for name, value in given.items()}
    output, summary = folder / "output", folder / "summary.md"
    for step in ACTION["runs"]["steps"]:
        if "run" not in step:
            continue
        asked = re.fullmatch(r"inputs\.([\w-]+) != ''", step.get("if", "inputs.policy != ''"))
        assert asked is not None, step["if"]
        if inputs[asked[1]] == "":
            continue
        variables = {
            name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], text)
            for name, text in step.get("env", {}).items()
        }
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
        done = shell(step["run"], folder, **variables, **files)
        if done.returncode:
            break
    lines = output.read_text().splitlines() if output.exists() else []
    return done, dict(line.split("=", 1) for line in lines)


def test_no_step_of_the_action_holds_an_input_in_its_script() -> None:
    """A value in a script is code; in a variable it stays text."""
    steps = ACTION["runs"]["steps"]
    assert all("${{" not in step.get("run", "") for step in steps)
    assert all(step["shell"] == "bash" for step in steps if "run" in step)
    named = set(re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(ACTION["runs"])))
    assert named == set(ACTION["inputs"])


@pytest.mark.parametrize("code", [1])
def test_the_action_ends_as_the_gate_does(ready: Path, code: int) -> None:
    done, outputs = act(ready, policy=str(policy_of(ready, code)), package="")
    assert done.returncode == code, done.stderr
    assert outputs == {"verdict": VERDICTS[code], "exit-code": str(code)}
    assert VERDICTS[code] in (ready / "summary.md").read_text()
    assert ET.parse(ready / "gate.xml").getroot().tag == "testsuites"


def test_a_warning_lets_an_inconclusive_gate_of_a_head_pass(ready: Path) -> None:
    policy_of(ready, 3)
    done, outputs = act(ready, policy="gate.toml", package="", head="ft", baseline="run@ft", inconclusive="warn")
    assert (done.returncode, outputs["verdict"]) == (0, "inconclusive")
    assert "::warning::the gate is inconclusive" in done.stdout


@pytest.mark.parametrize("given", [{"inconclusive": "maybe"}, {"policy": "no; exit 0"}])
def test_what_cannot_be_decided_stops_the_action(ready: Path, given: dict[str, str]) -> None:
    done, outputs = act(ready, **{"policy": str(policy_of(ready, 0)), "package": "", **given})
    assert done.returncode == 2
    assert outputs.get("verdict", "undecided") == "undecided"


def test_the_action_evaluates_and_keeps_words_in_quotes_whole(tmp_path: Path, shared_artifact: Artifact) -> None:
    write_images(tmp_path / "set", 6, 32)
    (tmp_path / "gate.toml").write_text('[[check]]\nmetric = "errors"\nmax = 0\n')
    rows = (tmp_path / "set" / "manifest.csv").read_text()
    (tmp_path / "set" / "a b.csv").write_text(rows.replace(",dark,", ",cat,").replace(",light,", ",dog,"))
    options = "--saliency occlusion --fill 'no folder'"
    given = {"artifact": str(shared_artifact.path), "data": "set/a b.csv", "run": "a run", "policy": "gate.toml"}
    done, _ = act(tmp_path, package="", **given, eval_options="--saliency occlusion --tag 'not closed")
    assert (done.returncode != 0, (tmp_path / "a run").exists()) == (True, False), done.stderr
    done, _ = act(tmp_path, package="", **given, eval_options=options)
    assert (done.returncode, "no folder" in done.stderr) == (2, True), done.stderr
    done, outputs = act(tmp_path, package="", **given, eval_options="--saliency occlusion")
    assert (done.returncode, outputs) == (0, {"verdict": "passed", "exit-code": "0"}), done.stderr
    assert (tmp_path / "a run" / "summary.json").exists()


# GitLab

_HEADER, _JOB = (ROOT / "templates" / "rate-gate.yml").read_text(encoding="utf-8").split("\n---\n")
COMPONENT: dict[str, Any] = yaml.safe_load(_HEADER)["spec"]["inputs"]


def job_of(**given: str) -> dict[str, Any]:
    """The job of the component with these inputs, as GitLab fills them in."""
    inputs = {name: str(one.get("default", "")) for name, one in COMPONENT.items()} | given
    text = re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda found: inputs[found[1]], _JOB)
    jobs: dict[str, Any] = yaml.safe_load(text)
    assert list(jobs) == [inputs["job"]]
    return dict(jobs[inputs["job"]])


@pytest.mark.parametrize(("code", "inconclusive", "seen"), [(3, "fail", 1), (3, "warn", 3)])
def test_the_job_fails_where_the_gate_fails_or_shows_nothing(
    ready: Path, code: int, inconclusive: str, seen: int
) -> None:
    """GitLab takes 3 for a warning."""
    job = job_of(policy=policy_of(ready, code).name, package="", head="ft", inconclusive=inconclusive)
    assert job["allow_failure"] == {"exit_codes": 3}
    variables = {name: str(value) for name, value in job["variables"].items()}
    done = shell("\n".join(job["script"]), ready, **variables)
    assert done.returncode == seen, done.stderr
    assert "is set" not in done.stderr, "no variable of the job is one that rate takes for its own"
    assert (ready / job["artifacts"]["reports"]["junit"]).exists()


def test_only_an_inconclusive_gate_ends_the_job_with_a_warning(ready: Path) -> None:
    """With this variable pip ends with 3, too, outside a virtual environment."""
    job = job_of(policy=policy_of(ready, 0).name, package="rate-engine")
    (ready / "python").write_text("#!/bin/sh\nexit 3\n")
    (ready / "python").chmod(0o755)
    variables = {name: str(value) for name, value in job["variables"].items()}
    done = shell('PATH="$PWD:$PATH"\n' + "\n".join(job["script"]), ready, **variables)
    assert done.returncode == 1, done.stderr


def test_every_input_of_the_component_is_used() -> None:
    assert set(re.findall(r"inputs\.(\w+)", _JOB)) == set(COMPONENT)


# pre-commit, containers, conda


def test_the_hooks_check_what_their_pattern_finds(tmp_path: Path) -> None:
    hooks = {one["id"]: one for one in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    policy_of(tmp_path, 0)
    write_images(tmp_path / "set", 2, 16)
    for name, good in (("rate-policy", "gate.toml"), ("rate-manifest", "set/manifest.csv")):
        assert re.search(hooks[name]["files"], good)
        done = shell(f'{hooks[name]["entry"]} "$FILE"', tmp_path, FILE=good)
        assert done.returncode == 0, done.stderr
        (tmp_path / good).write_text(
            "[[check]]\nmetric = 'pt'\n" if name == "rate-policy" else "image,label\nno.png,a\n"
        )
        assert shell(f'{hooks[name]["entry"]} "$FILE"', tmp_path, FILE=good).returncode == 2


@pytest.mark.parametrize(
    ("schema", "file"),
    [("github-actions", "action.yml"), ("citation-file-format", "CITATION.cff"), ("gitlab-ci", None)],
)
def test_the_files_follow_the_schemas_of_their_readers(tmp_path: Path, schema: str, file: str | None) -> None:
    job = tmp_path / "job.yml"
    job.write_text(yaml.safe_dump({"rate-gate": job_of(policy="gate.toml")}))
    words = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", job if file is None else ROOT / file]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing_in_the_containerfiles() -> None:
    files = sorted((ROOT / "packaging").glob("Containerfile*"))
    done = subprocess.run([BIN / "hadolint", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), len(files)) == (0, "", 2)


def test_the_conda_recipe_asks_for_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    asked = {re.sub(r"(>=)", r" \1", one) for one in project["dependencies"]}
    assert set(recipe["requirements"]["run"]) == {*asked, f"python {project['requires-python']}"}
    assert recipe["context"]["version"] == rate.__version__
    assert recipe["build"]["python"]["entry_points"] == ["rate = " + project["scripts"]["rate"]]
