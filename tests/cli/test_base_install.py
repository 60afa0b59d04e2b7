"""Without the extras every verb ends in one message that names what to install: exit code 2, no crash file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rate.errors import MissingExtra, check_installed

BLOCK = """
import sys
EXTRAS = {
    "torch", "torchvision", "timm", "open_clip", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "ray",
    "imagecorruptions", "scipy", "transformers", "huggingface_hub", "sentencepiece", "triton", "tensorrt",
}
class Base:
    def __init__(self, finders):
        self.finders = finders
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in self.finders)), None)
sys.meta_path[:] = [Base(sys.meta_path[:])]
from rate.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
"""The command line where only the base dependencies can be imported."""


def rate_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK, *arguments], capture_output=True, text=True, check=False, cwd=folder, timeout=120
    )


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
    "data corrupt": ("corrupt", "data corrupt {data} --corrupt fog:3 --out new"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_message_names_the_extra(trained, tmp_path: Path, verb: str) -> None:
    extra, line = VERBS[verb]
    names = {"artifact": trained.artifact, "checkpoint": trained.checkpoint, "data": trained.manifest}
    done = rate_alone(tmp_path, *line.format(**names, image=trained.manifest.parent / "0.png").split())
    assert done.returncode == 2, done.stderr
    assert f"pip install 'rate-engine[{extra}]'" in done.stderr
    assert sum(text.startswith("error: ") for text in done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())  # no crash file, and nothing half made


@pytest.mark.parametrize("line", ["doctor", "inspect {artifact}", "data check {data}", "data synth --out s", "schema"])
def test_the_rest_works(trained, tmp_path: Path, line: str) -> None:
    names = {"artifact": trained.artifact, "data": trained.manifest}
    done = rate_alone(tmp_path, *line.format(**names).split())
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(MissingExtra) as raised:
        check_installed("this", {"json": "a", "no_such_package": "b", "nor.this_one": "c", "neither": "b"})
    assert "this needs no_such_package, nor.this_one, neither" in str(raised.value)
    assert "'rate-engine[b,c]'" in str(raised.value)
    check_installed("this", {"json": "a"})
