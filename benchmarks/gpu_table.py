"""The figures of `benchmarks.gpu`, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """Every section as a table or a line."""
    card, most = figures["card"], figures["ceilings"]
    yield f"\n{card['name']}, torch {card['torch']}, CUDA {card['cuda']}\n"
    yield from _checks(figures["checks"])
    yield (
        f"\nceilings: copy {most['copy_gb_per_s']:.4g} GB/s, matrix product {most['fp16_tflop_per_s']:.4g} (fp16) and "
        f"{most['bf16_tflop_per_s']:.4g} (bf16) TFLOP/s\n"
    )
    yield from _forwards(figures["forwards"])
    masking, folding = figures["masking"], figures["folding"]
    yield f"\nmasking a batch in fp16: {_milliseconds(masking)}"
    yield f"folding {folding['masks']} masks for {folding['heads']} heads: {_milliseconds(folding)}\n"
    yield from _backends(figures["backends"])


def _checks(checks: Sequence[dict[str, Any]]) -> Iterator[str]:
    failed = [check for check in checks if not check["passed"]]
    yield f"checks: {len(checks) - len(failed)} of {len(checks)} passed"
    for check in failed:
        yield f"  FAILED {check['what']}: {check['error']:.3g}, allowed is {check['allowed']:.3g}"


def _forwards(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    head = ("model", "precision", "raw/s", "masked/s", "over raw", "of ceiling", "host busy")
    body = [
        (
            row["model"],
            row["precision"],
            f"{row['raw_forwards_per_s']:.4g}",
            f"{row['masked_forwards_per_s']:.4g}",
            f"{row['masked_over_raw']:.3f}",
            f"{row['masked_share_of_ceiling']:.3f}",
            f"{row['host_busy_share']:.3f}",
        )
        for row in rows
    ]
    yield from aligned([head, *body])


_RATES = ("images_per_s", "forwards_per_s")


def _backends(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    head = ("backend", "precision", "masks", "images/s", "forwards/s")
    there = [row for row in rows if row["measured"]]
    body = [
        (
            row["backend"],
            row["precision"],
            str(row["masks"]),
            f"{row['images_per_s']:.4g}",
            f"{row['forwards_per_s']:.4g}",
        )
        for row in there
    ]
    yield from aligned([head, *body]) if there else []
    yield from (f"{row['backend']}: not measured: {row['why']}" for row in rows if not row["measured"])


def _milliseconds(section: dict[str, Any]) -> str:
    return ", ".join(f"{name.removesuffix('_ms')} {value:.4g} ms" for name, value in section.items() if "_ms" in name)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns of one width, the first to the left and the rest to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        yield "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])
