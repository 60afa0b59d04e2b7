"""JSON that strangers wrote: parsed, or refused with one reason that can be understood."""

from __future__ import annotations

import json
import sys


def parse_json(text: str | bytes, *, finite: bool = False) -> object:
    """The value of a JSON text.

    Args:
        finite: refuse NaN and Infinity, which are not JSON and which Python's parser takes.

    Raises:
        ValueError: it is no JSON, nested too deeply, or holds a number that is too long; says which.
    """
    try:
        return json.loads(text, parse_constant=_refuse if finite else None)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply, some hundred levels are read") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:
        if "digits" not in str(error):
            raise
        # Python's own message speaks of settings of the interpreter.
        raise ValueError(f"a whole number has more than {sys.get_int_max_str_digits():,} digits") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def short(value: object, most: int = 80) -> str:
    """The value as Python writes it, cut where it is long; lone surrogates and control characters are escaped."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
