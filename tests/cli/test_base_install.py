"""Without the extras every verb ends in one message that names what to install: exit code 2, no crash file."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rate
from rate.errors import MissingExtra, check_installed

PROGRAM = """
import contextlib, io, json, os, sys
others, asked = json.load(sys.stdin)
class Base:
    def __init__(self, finders):
        self.finders = finders
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in others:
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in self.finders)), None)
sys.meta_path[:] = [Base(sys.meta_path[:])]
from rate.cli.main import run
answers = []
for folder, arguments in asked:
    os.makedirs(folder)
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(arguments)
    answers.append([code, out.getvalue(), err.getvalue(), os.listdir(folder)])
json.dump(answers, sys.stdout)
"""
"""Runs command lines, each in a folder of its own, where only the base dependencies can be imported."""


def others() -> list[str]:
    """Modules of all installed distributions but the declared dependencies and what these depend on."""
    waiting = tomllib.loads((Path(rate.__file__).parents[1] / "pyproject.toml").read_text())["project"]["dependencies"]
    base = {"rate-engine"}
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name not in base and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            base.add(name)
            waiting += metadata.requires(name) or []
    found = metadata.packages_distributions().items()
    return [module for module, names in found if not base & {canonicalize_name(name) for name in names}]


@dataclass(frozen=True)
class Answer:
    """What a command line left behind."""

    code: int
    stdout: str
    stderr: str
    files: list[str]


VERBS = {
    "demo": ("cpu,train", "demo"),
    "finetune lp": ("train", "finetune lp timm:resnet18 {data} --out ck"),
    "finetune ft": ("train", "finetune ft {checkpoint} {data} --out ck"),
    "finetune flcp": ("train", "finetune flcp open_clip:ViT-B-32 {data} --out ck"),
    "finetune lp hf": ("hf", "finetune lp hf:some/model {data} --out ck"),
    "export timm": ("cpu,train", "export timm:resnet18 --out new"),
    "export open_clip": ("cpu,train", "export open_clip:ViT-B-32 --out new"),
    "export hf": ("cpu,hf", "export hf:some/model --out new"),
    "export onnx": ("cpu,export", "export onnx:model.onnx --out new"),
    "export checkpoint": ("cpu,train", "export {checkpoint} --out new"),
    "export int8": ("cpu,int8,train", "export {checkpoint} --out new --precision int8 --calibrate {data}"),
    "eval": ("cpu", "eval {artifact} {data} --out run"),
    "eval openvino": ("cpu", "eval {artifact} {data} --out run --backend openvino"),
    "eval torch": ("train", "eval {artifact} {data} --out run --backend torch"),
    "eval cuda": ("gpu", "eval {artifact} {data} --out run --backend onnxruntime-cuda --device cuda"),
    "eval attention": ("train", "eval {artifact} {data} --out run --saliency attention"),
    "eval ray": ("ray", "eval {artifact} {data} --out run --runner ray"),
    "eval corrupt": ("corrupt", "eval {artifact} {data} --out run --corrupt fog:3"),
    "bench": ("cpu", "bench {artifact}"),
    "explain": ("cpu", "explain {artifact} {image}"),
    "log mlflow": ("log", "log run --to mlflow"),
    "log wandb": ("wandb", "log run --to wandb"),
    "log model-card": ("hub", "log run --to model-card"),
    "data corrupt": ("corrupt", "data corrupt {data} --corrupt fog:3 --out new"),
}


WORKS = ("doctor", "inspect {artifact}", "data check {data}", "data synth --out s --train 4 --test 4", "schema")


@pytest.fixture(scope="module")
def answers(trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """All command lines in one process, since importing the base costs more than refusing them."""
    names = {"artifact": trained.artifact, "checkpoint": trained.checkpoint, "data": trained.manifest}
    names["image"] = trained.manifest.parent / "0.png"
    lines = [line.format(**names).split() for line in (*(line for _, line in VERBS.values()), *WORKS)]
    root = tmp_path_factory.mktemp("base")
    asked = json.dumps([others(), [(str(root / str(k)), line) for k, line in enumerate(lines)]])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=asked, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return dict(zip((*VERBS, *WORKS), (Answer(*answer) for answer in json.loads(done.stdout)), strict=True))


@pytest.mark.parametrize("verb", VERBS)
def test_the_message_names_the_extra(answers: dict[str, Answer], verb: str) -> None:
    answer, (extra, _) = answers[verb], VERBS[verb]
    assert answer.code == 2, answer.stderr
    assert f"pip install 'rate-engine[{extra}]'" in answer.stderr
    assert sum(text.startswith("error: ") for text in answer.stderr.splitlines()) == 1
    assert not answer.files  # no crash file, and nothing half made


@pytest.mark.parametrize("line", WORKS)
def test_the_rest_works(answers: dict[str, Answer], line: str) -> None:
    assert answers[line].code == 0, answers[line].stderr
    assert answers[line].stdout


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(MissingExtra) as raised:
        check_installed("this", {"json": "a", "no_such_package": "b", "nor.this_one": "c", "neither": "b"})
    assert "this needs no_such_package, nor.this_one, neither" in str(raised.value)
    assert "'rate-engine[b,c]'" in str(raised.value)
    check_installed("this", {"json": "a"})
