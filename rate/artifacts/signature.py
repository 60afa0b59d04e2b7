"""What this user keeps between commands: a secret that marks their own plans, and the timings of earlier builds.

A plan is executable code, and an artifact may come from anybody. Its plans are loaded where the seal in their
description was made with the secret of the user who loads them, which leaves no machine by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from rate.artifacts.folders import canonical
from rate.errors import UsageError
from rate.types import Json

_BYTES = 32


def state_folder() -> Path:
    """`$XDG_STATE_HOME/rate`, by default `~/.local/state/rate`."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "rate"


def seal(document: Json) -> str:
    """Keyed digest of a document, 64 hexadecimal digits; ``seal`` in the document itself does not count.

    Raises:
        UsageError: the secret cannot be read or made.
    """
    content = canonical({key: value for key, value in document.items() if key != "seal"})
    return hmac.new(_secret(), content, hashlib.sha256).hexdigest()


def is_sealed(document: Json) -> bool:
    """Whether the document's seal was made here, by this user, and nothing has changed since."""
    if not _secret_path().exists():
        return False
    return hmac.compare_digest(seal(document).encode(), str(document.get("seal")).encode())


def _secret_path() -> Path:
    return state_folder() / "plan-secret"


def _secret() -> bytes:
    """Made at first use; of two processes that make it at once, one wins and both use its secret."""
    path = _secret_path()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_bytes(secrets.token_bytes(_BYTES))
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
        found = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read or made ({error.strerror}), and TensorRT plans need it: let XDG_STATE_HOME name a "
            "folder of your own that can be written"
        ) from error
    if len(found) != _BYTES:
        raise UsageError(f"{path} has {len(found)} bytes, expected {_BYTES}; delete it, and build your plans again")
    return found
