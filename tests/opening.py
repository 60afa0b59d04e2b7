"""Which backend the settings open."""

from __future__ import annotations

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.engine.choose_backend import Say, open_backend
from rate.execution import Execution


def chosen(artifact: Artifact, execution: Execution, say: Say = lambda _: None, form: str = "pixels") -> Backend:
    """The backend that was opened, closed again."""
    with open_backend(artifact, execution, form, say) as backend:
        return backend
