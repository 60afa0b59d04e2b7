"""What a row asks about its image: the columns `question` and `options`, for generative models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from rate.data.formats.manifest_files import QUESTION, Raw, parse_json, short
from rate.types import Question

BETWEEN = "|"
"""What stands between the options in a text."""


@dataclass(slots=True)
class AskedRows:
    """What the used rows of a set ask."""

    without: int = 0  # number of rows that ask nothing
    first: dict[tuple[str, ...], Question] = field(default_factory=dict)  # the first question with these options

    def add(self, questions: Sequence[Question | None]) -> None:
        """Count rows that follow each other."""
        for question in questions:
            if question is None:
                self.without += 1
            else:
                self.first.setdefault(question.options, question)


def question_of(raw: Raw, label: str | None) -> Question | None:
    """Return what a row asks; None = it lacks the question or the options, as a row for a classifier does.

    >>> question_of({"question": "Is there a dog?", "options": "yes|no"}, "yes")
    Question(text='Is there a dog?', options=('yes', 'no'))

    Args:
        raw: the row.
        label: the right option; None = it was refused already.

    Raises:
        ValueError: reads on from the column's name, which is `question`, `options` or `label`.
    """
    text, options = (raw.get(name) for name in QUESTION)
    if any(value is None or (isinstance(value, str) and not value.strip()) for value in (text, options)):
        return None
    if not isinstance(text, str):
        raise ValueError("question", f"must be a text, got {short(text)}")
    question = Question(text.strip(), _options(options))
    if label is not None and label not in question.options:
        raise ValueError("label", f"{short(label)} is none of the options {BETWEEN.join(question.options)}")
    return question


def cells_of(question: Question | None) -> Raw:
    """Return the cells of a question, which `question_of` reads; none without a question."""
    if question is None:
        return {}
    plain = not any(BETWEEN in option or option.startswith("[") for option in question.options)
    options = BETWEEN.join(question.options) if plain else json.dumps(question.options, ensure_ascii=False)
    return {"question": question.text, "options": options}


def _options(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except ValueError as error:
            raise ValueError("options", f"is not JSON ({error}): {short(value)}; write yes|no, or a list") from error
    given = value.split(BETWEEN) if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ValueError("options", f"must be texts with {BETWEEN} between them, such as yes|no, got {short(value)}")
    options = tuple(one.strip() for one in given)
    if len(options) < 2 or "" in options or len(set(options)) < len(options):
        raise ValueError("options", f"must be two or more different texts, such as yes|no, got {short(value)}")
    return options
