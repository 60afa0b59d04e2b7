"""A JSON parser for untrusted texts; a refusal has one clear reason."""

from __future__ import annotations

import json
import sys


def parse_json(text: str | bytes, *, finite: bool = False) -> object:
    """Parse a JSON text.

    Args:
        text: the text.
        finite: whether to refuse NaN and Infinity, which Python's parser accepts and JSON does not.

    Raises:
        ValueError: the text is no JSON, is nested too deeply, or holds a number that is too long.
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
        # Python's own message refers to settings of the interpreter.
        raise ValueError(f"a whole number has more than {sys.get_int_max_str_digits():,} digits") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def short(value: object, most: int = 80) -> str:
    """Format the value as Python does and truncate it; lone surrogates and control characters are escaped."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
