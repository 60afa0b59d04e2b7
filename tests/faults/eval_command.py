"""The command line of a small evaluation."""

from __future__ import annotations

from pathlib import Path


def arguments(trained, out: Path, *more: str, manifest: Path | None = None) -> list[str]:
    """Of the trained model on its 8 images: 17 forwards each, and of the verdicts some are valid."""
    method = ["--saliency", "occlusion", "--window", "60", "--stride", "40", "--valid", "absolute", "--tau", "0.29"]
    where = ["--batch", "8", "--threads", "1", "--backend", "onnxruntime"]
    return ["eval", str(trained.artifact), str(manifest or trained.manifest), "--out", str(out), *method, *where, *more]
