"""The tables of docs/validity.md, from the results of `benchmarks.validity`, `.coverage`, `.findings` and `.stopping`.

python -m benchmarks.validity_table
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any

from benchmarks import record

TOWERS = {"cnn": "ResNet", "vit": "ViT", "contour": "ResNet, contours"}
FOUND_BY = ("truth", "swap", "truth, mapped", "map")
RULES = ("midpoint", "absolute", "ratio", "above area", "minmax absolute", "raw absolute")


def main() -> None:
    """Print them."""
    with (record.RESULTS / "validity.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figures = _figures("validity")
    chosen = figures["default"][0]
    same = {"design": chosen["design"], "masks": str(chosen["masks"]), "score": "logit", "rule": "midpoint"}
    print("\n## default\n")
    _table(
        ("model", "shortcut", "region", "PT object", "small", "medium", "large", "PT shortcut", "uniform", "AUC"),
        (_default_row(row) for row in _where(rows, **same) if row["n_object_checked"] != "0"),
    )
    print("\n## designs\n")
    designs = list(dict.fromkeys(row["design"] for row in rows))
    _table(
        ("masks of an image", *(f"{name}: PT object / shortcut, AUC" for name in TOWERS.values())),
        (
            (f"{design}, {count}", *(_cell(rows, tower, design, count) for tower in TOWERS))
            for design in designs
            for count in sorted({int(row["masks"]) for row in rows if row["design"] == design})[-2:]
        ),
    )
    print("\n## rules, mask / a96\n")
    _table(
        ("rule", *TOWERS.values()), ((rule, *(_rule(rows, same, tower, rule) for tower in TOWERS)) for rule in RULES)
    )
    print("\n## scores\n")
    _table(
        ("score", *TOWERS.values()),
        (
            (
                score,
                *(
                    _pair(_one(rows, **{**same, "score": score}, tower=tower, shortcut="tag", region="mask"))
                    for tower in TOWERS
                ),
            )
            for score in ("logit", "probability", "log-odds")
        ),
    )
    print("\n## repeats\n")
    _table(
        ("model", "PT of four draws", "spread", "stated"),
        (
            (
                f"{TOWERS[r['tower']]}, {r['model']} ({r['shortcut']})",
                ", ".join(map(str, r["pt"])),
                r["spread"],
                r["stated"],
            )
            for r in figures["repeats"]
        ),
    )
    findings()


def findings() -> None:
    """True differences to zero-shot, and measured ones by the default scores; then the claims of every score."""
    with (record.RESULTS / "findings.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    recipes = dict.fromkeys((row["before"], row["after"]) for row in rows)
    for metric in ("pt", "ir"):
        print(f"\n## findings, {metric}\n")
        same = {"score": "centred", "metric": metric}
        _table(
            ("scene names the class", "method", "accuracy", *FOUND_BY),
            (
                (
                    f"{before}, then {after}",
                    method,
                    _difference(_one(rows, **{**asked, **same, "instrument": "truth", "metric": "accuracy"})),
                    *(_difference(_one(rows, **asked, **same, instrument=instrument)) for instrument in FOUND_BY),
                )
                for before, after in recipes
                for method in ("ZS", "LP", "FT", "FLCP")
                for asked in ({"before": before, "after": after, "method": method},)
            ),
        )
    print("\n## findings, claims\n")
    names = ("instrument", "score", "metric", "true_claims", "found", "missed", "invented", "reversed", "mean_distance")
    _table(names, (tuple(str(row[name]) for name in names) for row in _figures("findings")["claims"]))


def _difference(row: dict[str, str] | None) -> str:
    if row is None:
        return ""
    value = f"{float(row['value']):.3f}"
    if row["method"] == "ZS":
        return value
    change, low, high = (float(row[name]) for name in ("minus_zs", "low", "high"))
    return f"{value} ({change:+.3f}; {low:+.3f} to {high:+.3f})"


def _figures(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((record.RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]
    return found


def _where(rows: list[dict[str, str]], **values: str) -> list[dict[str, str]]:
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def _one(rows: list[dict[str, str]], **values: str) -> dict[str, str] | None:
    return next(iter(_where(rows, **values)), None)


def _default_row(row: dict[str, str]) -> tuple[str, ...]:
    sizes = (row[f"pt_object_{size}"] for size in ("small", "medium", "large"))
    return (
        TOWERS[row["tower"]],
        row["shortcut"],
        row["region"],
        row["pt_object_checked"],
        *sizes,
        row["pt_shortcut_checked"],
        row["pt_uniform"],
        row["auc"],
    )


def _cell(rows: list[dict[str, str]], tower: str, design: str, count: int) -> str:
    return _pair(
        _one(
            rows,
            tower=tower,
            shortcut="tag",
            design=design,
            masks=str(count),
            score="logit",
            region="mask",
            rule="midpoint",
        )
    )


def _rule(rows: list[dict[str, str]], same: dict[str, str], tower: str, rule: str) -> str:
    cells = (
        _pair(_one(rows, **{**same, "rule": rule}, tower=tower, shortcut="tag", region=region))
        for region in ("mask", "a96")
    )
    return "; ".join(cells)


def _pair(row: dict[str, str] | None) -> str:
    if row is None:
        return ""
    return f"{float(row['pt_object_checked']):.2f} / {float(row['pt_shortcut_checked']):.2f}, {float(row['auc']):.3f}"


def _table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    names = list(header)
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row)} |")


if __name__ == "__main__":
    main()
