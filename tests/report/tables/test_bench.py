"""The table of a bench: every figure, what was refused, what it means, and what became slower."""

from __future__ import annotations

import pytest
from bench.test_history import ROW
from msgspec import structs
from rich.console import Console

from rate.bench.document import CAVEAT, BenchDocument, RoundValues, recommended
from rate.bench.history import compare
from rate.bench.plan import Refused
from rate.report.tables.bench import bench_table, spread

REFUSED = Refused("onnxruntime", "f32", "it does not reproduce the source model")
BENCH = BenchDocument(
    source="timm:x", images="parity sample", rows=(ROW,), recommended=recommended([ROW]), refused=(REFUSED,)
)


def printed(bench: BenchDocument) -> list[str]:
    console = Console(width=400, file=None, record=True, quiet=False, no_color=True)
    with console.capture() as capture:
        console.print(bench_table(bench))
    return capture.get().splitlines()


def test_the_table_has_every_figure_what_was_refused_and_what_it_means() -> None:
    lines = printed(BENCH)
    assert lines[0].split()[:3] == ["backend", "batch", "masks"]
    cells = ["21.0 (20.0 - 22.0)", "10.0 (9.0 - 11.0)", "0.500 (0.450 - 0.500)", "0.0400 (0.0300 - 0.0500)"]
    assert all(cell in lines[1] for cell in cells)
    assert "refused: onnxruntime f32: it does not reproduce the source model" in lines
    assert "3 rounds: median (min - max); threads 2; images: parity sample" in lines
    assert CAVEAT in lines
    assert any(
        line.startswith("fastest here: --backend openvino --precision bf16 --batch 32, 10 for") for line in lines
    )


def test_the_smallest_batch_that_is_nearly_as_fast_is_recommended() -> None:
    paces = {("a", 64): 700.0, ("a", 128): 972.0, ("a", 256): 1000.0, ("a", 512): 990.0, ("b", 64): 980.0}
    rows = [
        structs.replace(ROW, backend=name, batch=batch, engine_forwards_per_s=RoundValues.of([pace]))
        for (name, batch), pace in paces.items()
    ]
    of_others = structs.replace(ROW, masks=5, engine_forwards_per_s=RoundValues.of([5000.0]))
    found = recommended([*rows, of_others])
    assert (found.backend, found.batch, found.engine_forwards_per_s) == ("a", 128, 972.0)


def test_the_table_says_what_was_compared_and_flags_what_is_slower() -> None:
    faster = {"raw_forwards_per_s": RoundValues.of((41.0, 40.0, 42.0)), "versions": "rate 0.0.9", "date": "2025-05-05"}
    history = {ROW.identity: structs.replace(ROW, **faster)}
    text = "\n".join(printed(structs.replace(BENCH, against=compare([ROW], history, "old.csv"))))
    assert "against old.csv" in text
    assert "(2025-05-05): 1 slower, 0 faster, 3 same" in text
    assert (
        "slower: openvino bf16 batch 32 masks 256 raw_forwards_per_s 21.0 (20.0 - 22.0), was 41.0 (40.0 - 42.0)" in text
    )
    assert "versions then: rate 0.0.9" in text
    assert "REGRESSION" in text
    text = "\n".join(printed(structs.replace(BENCH, against=compare([ROW], {}, "old.csv"))))
    assert "nothing of this machine" in text
    assert "REGRESSION" not in text


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (123.45, "123"), (12.345, "12.3"), (0.039712, "0.0397"), (1.0, "1.00")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert spread(RoundValues.of((value,))) == f"{text} ({text} - {text})"
