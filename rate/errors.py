"""The exceptions of `rate`, each with the exit code the command line gives it.

    RateError                 4  anything that stops a command and is understood
    ├── UsageError            2  the request cannot be met as it stands: nothing was done
    │   ├── ConfigError       2  an option or a config value
    │   ├── DataError         2  a manifest or a folder of images as a whole
    │   │   └── SetChanged    2  the set is no longer what the command first read
    │   ├── ArtifactError     2  an artifact or a checkpoint: missing, changed, malformed
    │   ├── RunError          2  a run folder: of another key, locked, malformed
    │   │   ├── StoredTwiceError  2  a sample has more than one row of a head
    │   │   └── NoSampleInCommon  2  two heads that are compared share no sample
    │   └── MissingExtra      2  an optional package is not installed
    ├── SampleError           -  one sample; becomes a row with `error`, never stops a run
    │   ├── MaskMeaning       -  a mask of several values, and no word on which are the object
    │   └── MapShape          -  a map of another tool that cannot cover its image
    ├── BackendError          4  a runtime failed, or fell back to another device
    │   └── OutOfMemory       4  the device has no room; a smaller batch may fit
    ├── ParityError           4  an exported graph does not compute what the checkpoint computes
    ├── StorageError          4  a result could not be written: full disk, lost or read-only folder
    ├── CredentialsError      4  a remote storage no longer accepts the credentials
    └── TooManyErrors         4  more sample errors than --max-errors

Interruption (Ctrl-C) is exit code 130. Any other exception is a defect: exit code 4, with its traceback in a file.
Every message names the value, what was expected, and the cure.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from types import ModuleType

from rate.copies import by_url
from rate.credentials import storable

EXIT_DONE = 0
EXIT_GATE_FAILED = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_FAILED = 4
EXIT_INTERRUPTED = 130


class RateError(Exception):
    """Base of every error that `rate` raises on purpose. Messages are stored and shown, so they hold no credentials."""

    exit_code = EXIT_FAILED

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(by_url(one) if isinstance(one, str) else one for one in map(storable, arguments)))


class UsageError(RateError):
    """The request cannot be met as it stands; nothing was done."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """An option or a config value is outside what it may be."""


class DataError(UsageError):
    """A manifest or an image folder cannot be used as a whole."""


class SetChanged(DataError):
    """A row or a file of the set has changed since the command first read it; the stored results are still right."""


class ArtifactError(UsageError):
    """An artifact or a checkpoint is missing, changed or malformed."""


class RunError(UsageError):
    """A run folder belongs to other settings, is in use, or is malformed."""


class MissingExtra(UsageError):
    """An optional package is needed and not installed."""


class SampleError(RateError):
    """One sample cannot be evaluated; it becomes a row with `error`."""


class BackendError(RateError):
    """A runtime failed, or did not run where it was asked to."""


class OutOfMemory(BackendError):
    """The device has no room for the model, the images or a batch; a smaller batch may fit."""


class ParityError(RateError):
    """An exported graph does not reproduce the checkpoint's logits."""


class StorageError(RateError):
    """A result could not be written; what was stored before is whole."""


class CredentialsError(RateError):
    """A remote storage refuses the credentials; what was stored before is right."""


class TooManyErrors(RateError):
    """More samples failed than `--max-errors` allows."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional ``module``; if it is missing, name the extra that installs it.

    Raises:
        MissingExtra: the module, or something it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module.partition('.')[0]} is needed here and cannot be imported ({error}); "
            f"install it with: pip install 'rate-engine[{extra}]'"
        ) from error


def check_installed(what: str, needed: Mapping[str, str]) -> None:
    """Refuse ``what`` before any work if optional packages are missing; one message names all of them.

    Args:
        what: the command or source that needs the packages, as the user wrote it.
        needed: maps each module to the extra that installs it.

    Raises:
        MissingExtra: at least one package is missing; the message has the one command that installs all.
    """
    missing = [module for module in needed if not _is_installed(module)]
    if missing:
        extras = ",".join(sorted({needed[module] for module in missing}))
        raise MissingExtra(
            f"{what} needs {', '.join(missing)}, which cannot be found here; "
            f"install with: pip install 'rate-engine[{extras}]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message that says something; the name of the exception if none does."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
