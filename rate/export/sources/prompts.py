"""The class names and templates of a zero-shot head."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rate.errors import UsageError
from rate.export.options import read_classes
from rate.files import read_text

DEFAULT_TEMPLATES = ("a photo of a {}",)
"""The paper's prompt."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """The classes of a zero-shot head."""

    classes: tuple[str, ...]  # labels as in the data
    names: tuple[str, ...]  # class names as in a prompt
    templates: tuple[str, ...]  # each with one {}


def read_prompts(classes: Path, templates: Path | None) -> Prompts:
    """Read classes and templates.

    Args:
        classes: text, one class per line, `label` or `label<TAB>name in the prompt`; or a .json object {label: name}.
        templates: text, one template per line, each with one `{}`; None = the paper's "a photo of a {}".

    Raises:
        UsageError: a file cannot be read, a name is empty or repeats, or a template has no place for the name.
    """
    if classes.suffix == ".json":
        pairs = _from_json(classes)
    else:
        lines = [line.partition("\t") for line in read_classes(classes, None)]
        pairs = {label.strip(): name.strip() or label.strip() for label, _, name in lines}
        if len(pairs) < len(lines):
            raise UsageError(f"--classes {classes}: a label stands on two lines; labels must differ")
    return Prompts(tuple(pairs), tuple(pairs.values()), read_templates(templates))


Names = Sequence[str] | Mapping[str, str]
"""Classes in memory: labels in the order of the logits, or labels with their names in a prompt."""


def prompts_of(classes: Names, templates: Sequence[str] | None) -> Prompts:
    """Make prompts of classes in memory; ``templates``: see `read_prompts`.

    Raises:
        UsageError: there are fewer than two classes, one is empty or repeats, or a template has no place for the name.
    """
    names = dict(classes) if isinstance(classes, Mapping) else {label: label for label in classes}
    wrong = [label for label, name in names.items() if not all(isinstance(x, str) and x.strip() for x in (label, name))]
    if wrong or len(names) < max(2, len(classes)):
        said = f"{wrong[0]!r} is empty or no text" if wrong else f"{len(names)} different ones of {len(classes)}"
        raise UsageError(f"classes: {said}; give 2 names or more that differ, in the order of the logits")
    written = DEFAULT_TEMPLATES if templates is None else check_templates(templates, "templates")
    return Prompts(tuple(names), tuple(names.values()), written)


def _from_json(path: Path) -> dict[str, str]:
    expected = f"--classes {path}: expected a JSON object from label to the name in the prompt, at least 2 of them"
    try:
        names = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{expected} ({error})") from error
    if not isinstance(names, dict) or len(names) < 2:
        raise UsageError(expected)
    if wrong := [label for label, name in names.items() if not (label and isinstance(name, str) and name.strip())]:
        raise UsageError(f"{expected}; {wrong[0]!r} has no name")
    return names


def read_templates(path: Path | None) -> tuple[str, ...]:
    """Read prompt templates from a text file; None = the paper's own.

    Raises:
        UsageError: as `read_prompts`.
    """
    if path is None:
        return DEFAULT_TEMPLATES
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"--templates {path} cannot be read ({error}); give a UTF-8 text file") from error
    return check_templates((line.strip() for line in lines if line.strip()), f"--templates {path}")


def check_templates(given: Iterable[str], what: str) -> tuple[str, ...]:
    """Return the templates, each with one place for the name of a class.

    Raises:
        UsageError: there is none, or one has no place or another brace; ``what`` names them.
    """
    templates = tuple(given)
    if not templates:
        raise UsageError(f"{what} is empty; one template a line, such as {DEFAULT_TEMPLATES[0]!r}")
    for template in templates:
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise UsageError(f"{what}: {template!r} must hold one {{}} for the class, and no other brace")
    return templates
