"""The tools of `benchmarks.peers`: what each needs, its own environment, and the process that it runs in."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parent.parent


class Unavailable(Exception):
    """A tool that cannot be measured here, and why."""


@dataclass(frozen=True)
class Tool:
    """A row of the table."""

    name: str
    script: str  # in the folder `peers`
    note: str  # what a reader has to know about it
    files: tuple[str, ...]  # forms of `peer_models.Forms` that it takes
    needs: tuple[str, ...] = ()  # what pip installs for it; none: the interpreter of this process
    options: dict[str, Any] = field(default_factory=dict)
    masks: str = "n"  # n: as many as asked for | auto | windows: its own number

    @property
    def is_peer(self) -> bool:
        """Not `rate` itself."""
        return self.script != "with_rate.py"


def _rate(name: str, note: str, **options: Any) -> Tool:
    settings = {"artifact": "artifact", "backend": "openvino", "verdict": "map"} | options
    files = (settings["artifact"], "manifest")
    return Tool(name, "with_rate.py", note, files, options=settings, masks=options.get("masks", "n"))


def tools() -> dict[str, Tool]:
    """All tools by name. Versions are those that the scripts were written for."""
    torch, timm = f"torch=={version('torch').partition('+')[0]}", f"timm=={version('timm')}"
    found = (
        _rate("rate-bf16", "OpenVINO in bf16, what auto takes where the CPU computes in it", precision="bf16"),
        _rate("rate-f32", "OpenVINO in f32", precision="f32"),
        _rate("rate-int8", "OpenVINO in int8", precision="int8", artifact="artifact_int8"),
        _rate(
            "rate-auto",
            "the runtime that auto takes; masks until the verdict is clear",
            backend="auto",
            precision="auto",
            masks="auto",
        ),
        _rate(
            "rate-swap",
            "the runtime that auto takes; swaps until the verdict is clear; the bank is loaded before",
            backend="auto",
            precision="auto",
            verdict="swap",
            masks="auto",
        ),
        Tool(
            "openvino-xai",
            "with_openvino_xai.py",
            "RISE, one mask a forward, the precision that OpenVINO chooses",
            ("onnx", "pixels"),
            ("openvino-xai==1.1.0",),
        ),
        Tool(
            "xaitk",
            "with_xaitk.py",
            "RISEStack around ONNX Runtime, batches of 32",
            ("onnx", "pictures"),
            # it imports typing_extensions and does not ask for it
            ("xaitk-saliency==0.15.0", "onnxruntime", "typing_extensions"),
        ),
        Tool(
            "dianna",
            "with_dianna.py",
            "RISE by function with one ONNX Runtime session, batches of 32",
            ("onnx", "pixels"),
            ("dianna==1.8.1", "onnxruntime"),
        ),
        Tool(
            "torch-rise",
            "with_torch.py",
            "RISE of its paper in a few lines of plain torch, batches of 32",
            ("torch", "pixels"),
        ),
        Tool(
            "captum",
            "with_captum.py",
            "Occlusion: windows, not masks, and about 256 whatever N",
            ("torch", "pixels"),
            ("captum==0.9.0", torch, "torchvision", timm),
            masks="windows",
        ),
    )
    return {tool.name: tool for tool in found}


def interpreter(tool: Tool, folder: Path) -> Path:
    """The Python of a tool's environment, which is made the first time and kept in ``folder``.

    Raises:
        Unavailable: pip cannot install what the tool needs.
    """
    if not tool.needs:
        return Path(sys.executable)
    home = folder / tool.name
    python, ready = home / "bin" / "python", home / "ready.txt"
    wanted = "\n".join(tool.needs) + "\n"
    if python.exists() and ready.exists() and ready.read_text() == wanted:
        return python
    print(f"installing {' '.join(tool.needs)} in {home}", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *tool.needs])
    ready.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise Unavailable(f"{' '.join(command[1:4])} failed: {lines[-1]}")


class Worker:
    """A tool in a process of its own, loaded, and asleep until it is asked."""

    def __init__(self, tool: Tool, python: Path, setup: dict[str, Any], log: Path) -> None:
        """Start and load.

        Raises:
            Unavailable: the tool cannot be loaded.
        """
        self.tool, self._log = tool, log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(SCRIPTS / tool.script), json.dumps(setup)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=environment(setup["threads"]) | ({} if tool.needs else {"PYTHONPATH": str(ROOT)}),
            )
        try:
            self.loaded = self._answer()
        except Unavailable:
            self.close()
            raise

    def ask(self, images: Iterable[int], masks: int | str) -> dict[str, Any]:
        """Explain ``images``; figures of all of them together.

        Raises:
            Unavailable: the tool failed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"images": list(images), "masks": masks}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Unavailable(self._last_words()) from error
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # it is gone already
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise Unavailable(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"the worker ended: {lines[-1]}"


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker: so many threads, and none that spins while it waits."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    idle = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    return dict(os.environ) | counts | idle
