"""Installed packages with entry points, as pip leaves them on the disk."""

from __future__ import annotations

from pathlib import Path

from rate.cli.layouts import LAYOUTS
from rate.export.sources.source_string import FAMILIES
from rate.methods import METHODS
from rate.plugins import Registry

REGISTRIES: tuple[Registry, ...] = (FAMILIES, LAYOUTS, METHODS)


def install(folder: Path, package: str, version: str, points: dict[str, dict[str, str]], **modules: str) -> None:
    """Write a distribution with entry points, group -> name -> MODULE:ATTRIBUTE, and its modules."""
    described = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {at}" for name, at in named.items()) for group, named in points.items()
    ]
    (described / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


def forget() -> None:
    """Let every table look for plug-ins again, as in a new process."""
    for table in REGISTRIES:
        table._loaded.clear()
        for name in ("_all", "_points", "_taken"):
            table.__dict__.pop(name, None)
