"""What the Hugging Face Hub refuses, in words with the cure."""

from __future__ import annotations

_SIGN_IN = "sign in with `hf auth login`, or set HF_TOKEN"

_CURES = {
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, so nothing is fetched: unset it, or name a copy on this disk, such "
    "as `hf download` makes",
    "GatedRepoError": f"the set is gated: ask for access on its page, then {_SIGN_IN}",
    "RepositoryNotFoundError": f"the Hub has no such set, or it is private: check USER/NAME, or {_SIGN_IN}",
    "RevisionNotFoundError": "the set has no such revision: check what follows `@`",
    "HfUriError": "the Hub names sets hf://datasets/USER/NAME",
    "HFValidationError": "the Hub names sets hf://datasets/USER/NAME",
}
"""What to do about errors of huggingface_hub by the names of their classes; of two that fit, the first counts."""


def refused_by_hub(error: BaseException, url: str) -> str | None:
    """Return what the Hub refuses for good, with the cure; None = the error is another one, or of another storage."""
    seen: BaseException | None = error if url.startswith("hf://") else None
    while seen is not None:
        names = {kind.__name__ for kind in type(seen).__mro__}
        if (name := next((name for name in _CURES if name in names), None)) is not None:
            return _CURES[name]
        seen = seen.__cause__
    return None
