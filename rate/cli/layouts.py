"""The commands of `rate data index`: one for each layout, of this program or of a plug-in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from rate.cli.console import notice, say
from rate.cli.data import counted, counts_text
from rate.cli.options import with_literal_help
from rate.data.make.layouts.layout import Layout, LayoutReader
from rate.errors import UsageError
from rate.plugins import Registry

if TYPE_CHECKING:
    from rate.data.make.index import ManifestReport

Out = Annotated[Path, typer.Option(help="Manifest to write: .csv, .jsonl or .parquet, in a folder above the images.")]
Command = TypeVar("Command", bound=Callable[..., None])


class Layouts(TyperGroup):
    """The group of commands, with those of plug-ins where one of them is named, or all are listed."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name; None if there is none."""
        own = super().get_command(ctx, cmd_name)
        return _made(cmd_name, LAYOUTS[cmd_name]) if own is None and cmd_name in LAYOUTS else own

    def list_commands(self, ctx: Any) -> list[str]:
        """List the names."""
        return list(LAYOUTS)


app = typer.Typer(help="Write a manifest for a data set as it lies on the disk.", no_args_is_help=True, cls=Layouts)


def built_in(name: str) -> Callable[[Command], Command]:
    """Register a command under its name."""

    def register(command: Command) -> Command:
        LAYOUTS.built_in[name] = command
        app.command(name)(command)
        return command

    return register


def layout(name: str) -> Callable[[LayoutReader], Callable[..., None]]:
    """Register the command of a layout's reader under its name."""
    return lambda reader: built_in(name)(with_out(reader))


def with_out(reader: LayoutReader) -> Callable[..., None]:
    """Make the command of a reader: its parameters and `--out`, where the manifest of what it returns is written."""
    parameters = [*inspect.signature(reader, eval_str=True).parameters.values()]
    parameters.append(inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, annotation=Out))
    parameters.sort(key=lambda one: one.default is not one.empty)

    @wraps(reader)
    def command(*, out: Path, **options: Any) -> None:
        read = reader(**options)
        if not isinstance(read, Layout):
            raise UsageError(f"{reader.__name__} read a {type(read).__name__}; a layout's reader returns a Layout")
        write_entries(read, out)

    whole: Any = command
    del whole.__wrapped__  # its signature is the other one
    whole.__signature__ = inspect.Signature([one.replace(kind=one.KEYWORD_ONLY) for one in parameters])
    whole.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _made(name: str, command: Callable[..., None]) -> Any:
    """Make the command of a plug-in as Typer runs it."""
    alone = typer.Typer(add_completion=False)
    alone.command(name)(command)
    return with_literal_help(typer.main.get_command(alone))


def _accept(name: str, reader: Any) -> Callable[..., None]:
    """Take the reader of a plug-in, if a command can be made of it."""
    if not callable(reader):
        raise TypeError(f"the entry point names a {type(reader).__name__}; expected a function that reads a set")
    command = with_out(reader)
    _made(name, command)
    return command


LAYOUTS: Registry[Callable[..., None]] = Registry("rate.layouts", {}, _accept)
"""Maps the names of layouts to their commands."""


def write_entries(read: Layout, out: Path) -> None:
    """Write the manifest of a set, and say what is in it and what was left out."""
    from rate.data.make.layouts.write import write_layout

    say_report(write_layout(read.entries, out.parent if read.root is None else read.root, out, read.masks))


def say_report(report: ManifestReport) -> None:
    """Say what a manifest has, and what was left out."""
    for line in report.notices():
        notice(line)
    say("\n".join([f"{report.out}: {counted(report.rows, 'row')}", *counts_text(report.classes, report.splits)]))
