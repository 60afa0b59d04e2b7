"""One command for a machine with a GPU: is everything right on this card, and how much of the card is used?

The perturbed module and the backends are held against their oracles. Then the card's own ceilings are
measured (a copy, matrix products), raw and masked forwards of three vision transformers with random weights as shares
of them, the cost of masking and of folding, and images/s of the whole engine. It needs no network and ends within ten
minutes; the exit code is 1 when a check failed.

    python -m benchmarks.gpu [--out FOLDER] [--cpu-smoke]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from benchmarks.gpu_speed import Scale


def main() -> None:
    """Check, measure, print, record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, help="folder of the JSON file; benchmarks/results unless --cpu-smoke")
    parser.add_argument("--cpu-smoke", action="store_true", help="a tiny model on the CPU: proves the script, no more")
    arguments = parser.parse_args()
    import torch

    if not arguments.cpu_smoke and not torch.cuda.is_available():
        parser.error(
            f"no CUDA device: torch {torch.__version__} (built for {torch.version.cuda or 'the CPU alone'}) sees none; "
            "`rate doctor` says what is missing, docs/gpu.md what to install, and --cpu-smoke tries this script without"
        )
    from benchmarks import record
    from benchmarks.gpu_table import lines

    device = torch.device("cpu" if arguments.cpu_smoke else "cuda")
    figures = measured(device, scale_of(device))
    folder = arguments.out or (Path("build") if arguments.cpu_smoke else record.RESULTS)
    slug = re.sub(r"\W+", "_", str(figures["card"]["name"])).strip("_").lower()
    record.write(f"gpu_{slug}", figures, folder)
    print(*lines(figures), sep="\n")
    sys.exit(0 if all(check["passed"] for check in figures["checks"]) else 1)


def scale_of(device: torch.device) -> Scale:
    """The models and sizes of a card, or of a trial on the CPU."""
    from benchmarks.gpu_speed import Scale

    if device.type == "cpu":
        return Scale(("test_vit",), 1, 1, 0.0, 1 << 16, 64, 10, 1, 32)
    models = ("vit_base_patch32_224", "vit_base_patch16_224", "vit_large_patch14_224")
    return Scale(models, 256, 5, 0.4, 1 << 30, 8192, 1024, 32, 224)


def measured(device: torch.device, scale: Scale) -> dict[str, Any]:
    """Every section in turn, each announced; they share the card and nothing else."""
    import torch

    from benchmarks import gpu_backends, gpu_checks, gpu_speed
    from benchmarks.gpu_clock import Clock

    torch.backends.cudnn.allow_tf32 = False  # f32 is held to f32
    clock = Clock(device, scale.rounds, scale.seconds)
    tower, size = gpu_speed.made(scale.models[0], torch.device("cpu"))
    figures: dict[str, Any] = {"card": card(device)}
    announce("checks")
    figures["checks"] = list(gpu_checks.modules(device, tower, size))
    announce("ceilings")
    figures["ceilings"] = most = gpu_speed.ceilings(clock, scale)
    announce("forwards")
    figures["forwards"] = [row for name in scale.models for row in gpu_speed.forwards(clock, scale, name, most)]
    announce("masking and folding")
    figures["masking"] = gpu_speed.perturbing(clock, scale)
    figures["folding"] = gpu_speed.folding(scale)
    announce("backends")
    with tempfile.TemporaryDirectory() as folder:
        figures["backends"] = list(gpu_backends.measured(device.type, scale, Path(folder)))
    return figures


def card(device: torch.device) -> dict[str, Any]:
    """The device's name and what speed depends on."""
    import torch

    about: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device.type == "cpu":
        return {"name": "cpu smoke"} | about
    found = torch.cuda.get_device_properties(device)
    about |= {"name": found.name, "memory_gb": found.total_memory / 1e9, "processors": found.multi_processor_count}
    return about | {"capability": f"{found.major}.{found.minor}"} | dict(_driver())


def _driver() -> Iterator[tuple[str, str]]:
    """Driver and power limit of the first card, where `nvidia-smi` is there to say them."""
    if shutil.which("nvidia-smi") is None:
        return
    command = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode == 0 and done.stdout:
        yield from zip(("driver", "power_limit"), done.stdout.splitlines()[0].split(", "), strict=False)


def announce(what: str) -> None:
    """A line of progress."""
    print(f"{what} ...", file=sys.stderr)


if __name__ == "__main__":
    main()
