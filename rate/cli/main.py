"""The command `rate`: registers the verbs and turns exceptions into exit codes and one clear message."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from inspect import get_annotations
from pathlib import Path
from typing import Annotated, Any

import typer

from rate.cli import data, finetune, grid, index_sets
from rate.cli.bench import bench
from rate.cli.console import notice
from rate.cli.demo import demo
from rate.cli.eval import evaluate
from rate.cli.explain import explain
from rate.cli.export import export
from rate.cli.gate import check, gate, history
from rate.cli.inspect import doctor, inspect, schema
from rate.cli.judge import judge
from rate.cli.log import log
from rate.cli.options import name_variables, unread, with_literal_help
from rate.cli.runs import agree, compare, merge, report, show, status
from rate.credentials import without_credentials
from rate.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, RateError, StorageError, UsageError
from rate.files import storage_error, write_atomically
from rate.plugins import PluginWarning, plugin_behind
from rate.version import __version__

# The base of all usage errors. Typer bundles click or imports it, by version; this works with both.
_USAGE: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="rate",
    help="Is a fine-tuned vision-language model right for the right reasons?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("export")(export)
app.command("eval")(evaluate)
app.command("explain")(explain)
app.command("judge")(judge)
app.command("show")(show)
app.command("status")(status)
app.command("merge")(merge)
app.command("report")(report)
app.command("compare")(compare)
app.command("agree")(agree)
app.command("gate")(gate)
app.command("history")(history)
app.command("check")(check)
app.command("log")(log)
app.command("bench")(bench)
app.command("inspect")(inspect)
app.command("schema")(schema)
app.command("doctor")(doctor)
app.command("demo")(demo)
data.app.add_typer(index_sets.app, name="index")
app.add_typer(data.app, name="data")
app.add_typer(finetune.app, name="finetune")
app.add_typer(grid.app, name="grid")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rate {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Is a fine-tuned vision-language model right for the right reasons?"""
    for text in unread(context.command, os.environ):
        notice(text, level="warning")


@cache
def command() -> Any:
    """Make the whole command line, once."""
    _evaluate_annotations(app)
    whole = typer.main.get_command(app)
    name_variables(whole)
    return with_literal_help(whole)


def _evaluate_annotations(verbs: typer.Typer) -> None:
    """Replace annotations that are texts by what they stand for, once; Typer evaluates them four times."""
    for one in verbs.registered_commands:
        if one.callback is not None:
            one.callback.__annotations__ = get_annotations(one.callback, eval_str=True)
    for group in verbs.registered_groups:
        if group.typer_instance is not None:
            _evaluate_annotations(group.typer_instance)


def run(arguments: list[str], is_stopped: Callable[[], bool] = lambda: False) -> int:
    """Run one command line, and return its exit code.

    Args:
        arguments: the arguments without the command's own name.
        is_stopped: whether a signal has arrived, in which case an exception counts as its consequence.
    """
    try:
        try:
            with _plugin_notices():
                code = command().main(arguments, prog_name="rate", standalone_mode=False)
        except typer.Abort as stopped:
            if isinstance(stopped.__cause__, EOFError):  # Typer takes it for Ctrl-D; no command asks anybody anything
                raise stopped.__cause__ from None
            raise
        sys.stdout.flush()
        if code == EXIT_INTERRUPTED:  # Typer has converted the exception to an exit
            return _interrupted()
        return code if isinstance(code, int) else EXIT_DONE
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except _USAGE as error:
        error.show()
        return EXIT_USAGE
    except Exception as error:
        if is_stopped():
            return _interrupted()
        known = error if isinstance(error, RateError) else _of_the_system(error)
        if known is not None:
            notice(f"error: {_cut_short(str(known), arguments)}", level="error", exit_code=known.exit_code)
            return known.exit_code
        said = _without_arguments(f"error: {type(error).__name__}: {error}")
        notice(f"{said}\nThis is a defect of {_behind(error)}; the traceback is {_kept_traceback()}")
        return EXIT_FAILED


@contextmanager
def _plugin_notices() -> Iterator[None]:
    """Print warnings about plug-ins as notices, and others as Python does."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, PluginWarning):
            notice(str(message), level="warning")
        else:
            usual(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", PluginWarning)
        warnings.showwarning = show
        yield


def _behind(error: Exception) -> str:
    """Name the plug-in whose code an error came through, or this program."""
    from rate.cli.layouts import LAYOUTS
    from rate.export.sources.source_string import FAMILIES
    from rate.methods import METHODS

    plugin = plugin_behind(error, [one for table in (FAMILIES, LAYOUTS, METHODS) for one in table.loaded()])
    return "rate" if plugin is None else f"the plug-in {plugin}, or of its use by rate"


def _of_the_system(error: Exception) -> RateError | None:
    """Convert an error of the system or a library about a path to a RateError; None for a defect."""
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return UsageError(f"a name or a path is not UTF-8 ({error.object[:60]!r}), and results name it; rename it")
    if not isinstance(error, OSError) or error.filename is None:
        return None
    name = _without_arguments(os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename))
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(
            f"a name of {len(name):,} characters is longer than this system allows; give a shorter one than "
            f"{name[:60]!r}..."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(f"{name}: {error.strerror}; give a path that this process may use")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        return storage_error(Path(name), error)
    return None


def _cut_short(text: str, arguments: list[str]) -> str:
    """Cut arguments of more than 1,024 characters short: to Python 3.14 a file of too long a name is merely missing."""
    for argument in arguments:
        if len(argument) > 1024:
            text = text.replace(argument, f"{argument[:60]}...")
    return text


def _interrupted() -> int:
    notice("interrupted", level="error", exit_code=EXIT_INTERRUPTED)
    return EXIT_INTERRUPTED


def _kept_traceback() -> str:
    """Store the current traceback in a file here or in the temporary folder, and return a text that names it or holds
    it.
    """
    import tempfile  # which imports much that nothing else needs

    name = f"rate-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = _without_arguments(f"rate {__version__}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}")
    for folder in (os.getcwd, tempfile.gettempdir):
        try:
            path = Path(folder()) / name
            write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))
        except (OSError, StorageError):
            continue
        return f"in {path}"
    return f"kept nowhere, for nothing can be written here:\n{text}"


def _without_arguments(text: str) -> str:
    """Remove the credentials of the command line from a text of any library."""
    for argument in sys.argv:
        text = without_credentials(text, known=argument)
    return text
