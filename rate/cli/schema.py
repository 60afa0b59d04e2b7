"""`rate schema`: JSON Schemas of every file that `rate` writes."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            help="artifact | checkpoint | plan | run | samples | summary | precision | faithfulness | grid | "
            "comparison | agreement | gate | bench | status | estimate | check | pack | report | finetuned; "
            "all if none."
        ),
    ] = None,
) -> None:
    """Print the JSON Schemas of the files that `rate` writes."""
    from rate.cli.console import print_json
    from rate.errors import UsageError
    from rate.report.schemas import all_schemas

    known = all_schemas()
    if name is not None and name not in known:
        raise UsageError(f"there is no schema {name!r}; there are {', '.join(known)}")
    print_json(known if name is None else known[name])
