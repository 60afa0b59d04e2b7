"""The rows of a manifest that a recipe uses, and the names of their classes.

    python rows.py ALL.csv USED.csv CLASSES.txt [--test-share 0.2] [--limit N]

--test-share gives a set without splits its own, class by class and by the images' names: that share is `test`, the rest
`train`. --limit keeps the first N rows of every class and split.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

Row = dict[str, str]


def main() -> None:
    """Read, choose, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("used", type=Path)
    parser.add_argument("classes", type=Path)
    parser.add_argument("--test-share", type=float)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    with arguments.manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if arguments.test_share is not None:
        rows = divided(rows, arguments.test_share)
    if arguments.limit is not None:
        rows = first(rows, arguments.limit)
    with arguments.used.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    arguments.classes.parent.mkdir(parents=True, exist_ok=True)
    arguments.classes.write_text("\n".join(sorted({row["label"] for row in rows})) + "\n", encoding="utf-8")


def divided(rows: list[Row], share: float) -> list[Row]:
    """Rows with a `split` that depends on the names of a class's images alone."""
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_class[row["label"]].append(row)
    found = []
    for members in by_class.values():
        ordered = sorted(members, key=lambda row: hashlib.blake2b(row["image"].encode()).digest())
        tests = max(1, round(share * len(ordered)))
        found += [row | {"split": "test" if k < tests else "train"} for k, row in enumerate(ordered)]
    return found


def first(rows: list[Row], limit: int) -> list[Row]:
    """The first ``limit`` rows of every class and split."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for row in rows:
        key = row["label"], row.get("split", "")
        seen[key] += 1
        if seen[key] <= limit:
            found.append(row)
    return found


if __name__ == "__main__":
    main()
