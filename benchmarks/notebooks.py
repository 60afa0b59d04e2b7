"""How long the notebooks of `examples/notebooks` take, each in a kernel of its own, start included.

python -m benchmarks.notebooks
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from benchmarks import record

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples" / "notebooks").glob("*.ipynb"))


def executed(path: Path) -> Any:
    """Return the notebook with the outputs of its cells; a cell that raises ends it with the cell's error."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute()
    return notebook


def text_of(notebook: Any) -> str:
    """Join what the cells print and show, as plain text."""
    outputs = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    return "\n".join(one.get("text") or one.get("data", {}).get("text/plain", "") for one in outputs)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure every notebook once."""
    figures = {}
    for path in NOTEBOOKS:
        began, before = time.monotonic(), _processor_seconds()
        executed(path)
        figures[path.stem] = {
            "seconds": round(time.monotonic() - began, 1),
            "processor_seconds": round(_processor_seconds() - before, 1),
        }
    record.write("notebooks", figures)


if __name__ == "__main__":
    main()
