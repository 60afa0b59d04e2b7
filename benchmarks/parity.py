"""How far each CPU runtime and precision is from PyTorch, for real architectures with random weights.

python -m benchmarks.parity [SOURCE ...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import record
from rate.artifacts.parity import check_parity
from rate.backends.base import BackendSpec
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.errors import ParityError
from rate.export.export import ExportOptions, export_artifact

SOURCES = ("open_clip:ViT-B-32-quickgelu", "open_clip:ViT-B-16", "timm:vit_base_patch32_224")


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", nargs="*", default=list(SOURCES))
    rows = []
    for source in parser.parse_args().sources:
        with tempfile.TemporaryDirectory() as name:
            classes = Path(name) / "classes.txt"
            count = 1000 if source.startswith("timm:") else 2
            classes.write_text("".join(f"class {k}\n" for k in range(count)))
            graph = (
                artifact := export_artifact(source, Path(name) / "artifact", ExportOptions(classes=classes))
            ).graph()
            specs: list[BackendSpec] = [OrtSpec(graph, 0), OpenVinoSpec(graph, "f32", 0)]
            if cpu_has_bf16():
                specs.append(OpenVinoSpec(graph, "bf16", 0))
            for spec in specs:
                row: dict[str, object] = {"source": source, "backend": spec.name, "precision": spec.precision}
                try:
                    found = check_parity(artifact, spec)
                except ParityError as error:
                    rows.append(row | {"passed": False, "why": str(error)})
                    continue
                rows.append(
                    row
                    | {
                        "passed": True,
                        "max_abs": float(f"{max(found.max_abs.values()):.3g}"),
                        "cosine": round(float(np.min(list(found.cosine.values()))), 7),
                        "top1": all(found.top1.values()),
                    }
                )
    record.write("parity", {"rows": rows})


if __name__ == "__main__":
    main()
