"""What the site has beside the pages of this folder: the README as its front, the examples, and the Python API.

mkdocs calls the functions; see mkdocs.yml.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import rate

ROOT = Path(__file__).parent.parent
RESULTS = (
    "rate.runs.summary.summarise.Summary",
    "rate.runs.summary.summarise.HeadSummary",
    "rate.runs.summary.summarise.Metric",
    "rate.statistics.metrics.Ratio",
    "rate.report.compare.compare.Comparison",
    "rate.report.gate.decide.Decision",
    "rate.studies.explanation.Explanation",
    "rate.opened.Opened",
    "rate.opened.OpenedModule",
    "rate.engine.evaluate.Progress",
)
SETTINGS = (
    "rate.config.Measurement",
    "rate.execution.Execution",
    "rate.reading.Reading",
    "rate.judging.Judging",
    "rate.export.options.ExportOptions",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files of the examples."""
    examples = sorted(
        path for path in (ROOT / "examples").rglob("*") if path.suffix in (".ipynb", ".py", ".sh", ".toml")
    )
    lines = [f"- [{path.relative_to(ROOT)}]({path.relative_to(ROOT)})" for path in examples]
    pages = {
        "index.md": (ROOT / "README.md").read_text(encoding="utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "examples.md": "\n".join(["# Examples", "", *lines]),
        "api.md": _api(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    for path in (*examples, ROOT / "CITATION.cff"):
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between the files of the repository lead to pages of the site."""
    for place, name in (("CONTRIBUTING", "contributing"), ("CHANGELOG", "changelog"), ("README", "index")):
        markdown = re.sub(rf"\]\((\.\./)?{place}\.md", f"]({name}.md", markdown)
    markdown = markdown.replace("](docs/", "](").replace("](../examples", "](examples")
    return re.sub(r"\]\(examples(/[\w-]+)*/?\)", "](examples.md)", markdown)


def _api() -> str:
    names = [name for name in rate.__all__ if name not in ("__version__", "Measurement", "Execution", "RateError")]
    groups = {
        "Functions": [f"rate.api.{name}" for name in names],
        "Results": RESULTS,
        "Settings": SETTINGS,
        "Errors": ("rate.errors",),
    }
    lines = ["# Python API", "", "`import rate` has the functions; settings are their keywords.", ""]
    for title, members in groups.items():
        lines += [f"## {title}", "", *(f"::: {member}\n    options:\n      heading_level: 3\n" for member in members)]
    return "\n".join(lines)
