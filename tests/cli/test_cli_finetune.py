"""`rate finetune ft` and `flcp`: output, exit codes, what comes next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rate.cli.main import run
from rate.errors import EXIT_DONE, EXIT_USAGE

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
FAST = ["--split", "test", "--epochs", "2", "--threads", "1", "--batch", "4"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    return f"open_clip:{tmp_path / 'small.json'}"


@pytest.mark.parametrize("recipe", ["ft", "flcp"])
def test_it_ends_in_a_checkpoint_and_says_what_comes_next(
    recipe: str, source: str, image_set: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["finetune", recipe, source, str(image_set()), "--out", str(out), "--val-split", "test", *FAST]
    assert run(arguments) == EXIT_DONE
    stdout, stderr = capsys.readouterr()
    assert [line.split("  ")[0] for line in stdout.splitlines()] == [
        "checkpoint", "classes", "samples", "train accuracy", "val accuracy",
    ]  # fmt: skip
    assert "decoding: 6/6 images" in stderr
    assert "training: 12/12 images  epoch 2: loss " in stderr
    assert ", val accuracy " in stderr
    assert stderr.splitlines()[-1] == f"next: rate export {out} --out ARTIFACT"
    assert run([*arguments, "--force", "--json", "--no-augment"]) == EXIT_DONE
    assert json.loads(capsys.readouterr().out)["samples"] == 6


@pytest.mark.parametrize("recipe", ["ft", "flcp"])
def test_a_mistake_is_one_message_and_exit_code_2(
    recipe: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = ["finetune", recipe, source, str(tmp_path / "no.csv"), "--out", str(tmp_path / "out")]
    for extra, message in (([], "no.csv"), (["--device", "x"], "device must be"), (["--lr", "0"], "lr must be")):
        assert run([*lost, *extra]) == EXIT_USAGE
        assert message in capsys.readouterr().err
