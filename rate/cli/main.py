"""The command `rate`: registers the verbs and turns exceptions into exit codes and one clear message."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from rate.cli import finetune
from rate.cli.agree import agree
from rate.cli.bench import bench
from rate.cli.compare import compare
from rate.cli.console import notice
from rate.cli.data import commands, layouts
from rate.cli.data.corrupt import corrupt
from rate.cli.data.synth import synth
from rate.cli.demo import demo
from rate.cli.doctor import doctor
from rate.cli.environment import name_variables, unread
from rate.cli.eval import evaluate
from rate.cli.explain import explain
from rate.cli.export import export
from rate.cli.gate import gate
from rate.cli.inspect import inspect
from rate.cli.merge import merge
from rate.cli.report import report
from rate.cli.schema import schema
from rate.cli.show import show
from rate.cli.status import status
from rate.cli.streams import reader_may_leave
from rate.credentials import without_credentials
from rate.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, RateError
from rate.version import __version__

# The base of all usage errors. Typer carries its own copy of click or imports it, by version; this is right for both.
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
app.command("show")(show)
app.command("status")(status)
app.command("merge")(merge)
app.command("report")(report)
app.command("compare")(compare)
app.command("agree")(agree)
app.command("gate")(gate)
app.command("bench")(bench)
app.command("inspect")(inspect)
app.command("schema")(schema)
app.command("doctor")(doctor)
app.command("demo")(demo)
commands.app.command("synth")(synth)
commands.app.command("corrupt")(corrupt)
layouts.register(commands.index_app)
app.add_typer(commands.app, name="data")
app.add_typer(finetune.app, name="finetune")


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


def main() -> None:
    """Entry point of the console script. SIGTERM, which schedulers send, stops it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def command() -> Any:
    """The whole command line. Its help texts are printed as they are written: rich would take `[x]` for a style."""
    whole = typer.main.get_command(app)
    name_variables(whole)
    waiting: list[Any] = [whole]
    while waiting:
        one = waiting.pop()
        for texts in (one, *one.params):
            texts.help = texts.help and escape(texts.help)
        waiting.extend(getattr(one, "commands", {}).values())
    return whole


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    try:
        code = command().main(arguments, prog_name="rate", standalone_mode=False)
        return code if isinstance(code, int) else EXIT_DONE
    except RateError as error:
        notice(f"error: {error}", level="error", exit_code=error.exit_code)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        notice("interrupted", level="error", exit_code=EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away: `rate show RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except _USAGE as error:
        with reader_may_leave("stderr"):
            error.show()
        return EXIT_USAGE
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            notice(f"error: {_too_long(str(error.filename))}", level="error", exit_code=EXIT_USAGE)
            return EXIT_USAGE
        said = _without_arguments(f"error: {type(error).__name__}: {error}")
        notice(f"{said}\nThis is a defect of rate; the traceback is in {_crash_file()}")
        return EXIT_FAILED


def _too_long(name: str) -> str:
    start = _without_arguments(name)[:60]
    return f"a name of {len(name):,} characters is longer than this system allows; give a shorter one than {start!r}..."


def _crash_file() -> Path:
    """Write the current traceback where it can be found: here, or in the temporary folder if here is read-only."""
    name = f"rate-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = _without_arguments(f"rate {__version__}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}")
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            (folder / name).write_text(text, encoding="utf-8")
        except OSError:
            continue
        return folder / name
    return Path(os.devnull)


def _without_arguments(text: str) -> str:
    """The text without the credentials of the command line, wherever a library has put them."""
    for argument in sys.argv:
        text = without_credentials(text, known=argument)
    return text
