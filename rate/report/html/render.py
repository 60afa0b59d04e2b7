"""A page as one file: its template filled in, escaped against hostile names, with a style and a script of its own."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from msgspec import field

from rate.credentials import without_credentials
from rate.errors import ConfigError, UsageError
from rate.outputs import is_stream, require_output
from rate.records import Count, Document
from rate.report.compare.compare import signed
from rate.report.compare.table import p_value
from rate.report.html.embedded import embedded_json
from rate.report.html.record import data_name
from rate.runs.summary.numbers import number
from rate.types import Json
from rate.version import __version__


class Report(Document, frozen=True, tag="rate.page/1"):
    """What was written."""

    path: Path = field(name="report")
    bytes: Count
    heads: tuple[str, ...]
    samples: Count  # number of samples in the gallery
    pictures: Count  # number of those with a picture
    notices: tuple[str, ...]  # notices about what is not shown, one sentence each
    rows: Path | None = None  # the rows as CSV


def check_output(out: Path, table: Path | None, max_samples: int, force: bool) -> None:
    """Refuse a place that a page, or a table beside it, cannot be written to.

    Raises:
        ConfigError: ``max_samples`` is negative, or ``out`` does not end in .html.
        UsageError: ``out`` or ``table`` exists.
    """
    if max_samples < 0:
        raise ConfigError(f"max-samples must be 0 or more, got {max_samples}")
    require_output("--out", out)
    if is_stream(out):
        if table is not None:
            raise UsageError(f"--rows writes a file beside the page, and {out} is a stream; give --out FILE.html")
        return
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out must end in .html, got {str(out)!r}")
    for path in (out, *([table] if table else [])):
        if path.exists() and not force:
            raise UsageError(f"{path} exists; give another --out, or --force to replace it")


def rendered(template: str, data: Json, **values: Any) -> bytes:
    """Fill in a template.

    Args:
        template: its name.
        data: what the page embeds for its own script and for other programs.
        values: the names that the template uses.
    """
    style, script = _text("report.css"), _text("report.js")
    page = (
        _templates()
        .get_template(template)
        .render(
            policy=content_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            data=embedded_json(data),
            version=__version__,
            **values,
        )
    )
    return page.encode("utf-8")


@cache
def _templates() -> jinja2.Environment:
    """Make the environment once, which keeps the templates that it has compiled."""
    environment = jinja2.Environment(
        finalize=_shown,
        loader=jinja2.PackageLoader("rate.report.html", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"number": number, "share": share, "signed": signed, "p_value": p_value}
    environment.filters |= {"data_name": data_name}
    return environment


def content_policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy, which allows this style, this script and embedded images only."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def share(part: int, whole: int) -> str:
    """Format a percentage of a count."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _shown(value: Any) -> Any:
    """Return the displayed form of a value; runs of older versions may hold credentials. Pictures are base64."""
    return without_credentials(value) if type(value) is str and not value.startswith("data:image/") else value


def _text(name: str) -> str:
    return (resources.files("rate.report.html") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
