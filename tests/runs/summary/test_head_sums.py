"""The sums of a head: the same counts as from the rows themselves, in any order of parts."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_rows import MEASUREMENT, SWAP

from rate.records import record
from rate.runs.rows import SCHEMA
from rate.runs.run_document import Rule
from rate.runs.summary.head_sums import SHOWN_FAILURES, SUMMED, read_sums
from rate.runs.summary.slice_sums import clusters_of, states
from rate.statistics.metrics import METRICS, STATES, Counts, sample_ratio

RULE, SWAP_RULE = (record(Rule, measurement.rule()) for measurement in (MEASUREMENT, SWAP))
ROW = st.fixed_dictionaries(
    {
        "head": st.sampled_from(["a", "b"]),
        "correct": st.booleans(),
        "valid": st.booleans(),
        "undefined_reason": st.sampled_from([None, None, "no-evidence", "empty-region"]),
        "settled": st.sampled_from(["fixed", "decided", "capped"]),
        "error": st.sampled_from([None, None, None, "broken"]),
        "group": st.sampled_from([None, "g", "h"]),
        "cluster": st.sampled_from([None, "c", "d", "e"]),
        "forwards": st.integers(0, 3000),
        "rma_positive": st.sampled_from([0.25, 0.5]),
    }
)
SWAPPED = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ("object_only", "background_only", "kept_alone", "kept_without"), st.sampled_from([0.0, 0.3, 1.0])
        ),
        "fills": st.integers(4, 9),
        "cluster": st.sampled_from([None, "c", "d"]),
        "error": st.sampled_from([None, None, "broken"]),
        "undefined_reason": st.none(),
    }
)


def table(rows: list[dict]) -> pa.Table:
    whole = []
    for k, row in enumerate(rows):
        blank = dict.fromkeys(SCHEMA.names) | {"id": f"s{k}", "label": "x"} | row
        if row["error"]:
            blank |= {
                "correct": None,
                "valid": None,
                "undefined_reason": None,
                "rma_positive": None,
                "object_only": None,
            }
        elif row["undefined_reason"]:
            blank |= {"valid": None}
        whole.append(blank)
    return pa.Table.from_pylist(whole, SCHEMA)


def counted(rows: pa.Table) -> Counts:
    """One row at a time."""
    total = Counts()
    for row in rows.to_pylist():
        if row["error"]:
            total += Counts(errors=1)
        elif row["undefined_reason"]:
            total += Counts(undefined_right=int(row["correct"]), undefined_wrong=int(not row["correct"]))
        else:
            name = ("r" if row["correct"] else "w") + ("r" if row["valid"] else "w")
            total += Counts(**{name: 1}, capped=int(row["settled"] == "capped"))
    return total


@given(rows=st.lists(ROW, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=3), backwards=st.booleans())
def test_counts_are_those_of_the_rows_however_they_are_cut(rows: list[dict], cuts: list[int], backwards: bool) -> None:
    whole = table(rows)
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    parts = [whole.slice(a, b - a).select(SUMMED) for a, b in itertools.pairwise(edges)]
    found = read_sums(["a", "b"], RULE, lambda: parts[::-1] if backwards else parts)
    for head, own in found.items():
        expected = whole.filter(pc.equal(whole["head"], head))
        assert own.whole.rows == len(expected)
        assert own.whole.counts == counted(expected)
        named = expected["group"].drop_null().to_pylist()
        assert {name: one.rows for name, one in own.slices("group")} == dict(sorted(Counter(named).items()))
        for name, one in own.slices("group"):
            assert one.counts == counted(expected.filter(pc.equal(expected["group"], name)))
        assert own.without_group == len(expected) - len(named)
        clusters = expected["cluster"].to_pylist()
        has_clusters = any(whole["cluster"].to_pylist())
        assert own.whole.clusters == (len(set(clusters) - {None}) + clusters.count(None) if has_clusters else None)
        codes = np.unique(clusters_of(expected), return_inverse=True)[1] if has_clusters else None
        for metric in METRICS:
            assert own.whole.ratio(metric) == sample_ratio(metric, states(expected), codes)
        good = expected.filter(pc.is_null(expected["error"]))
        reasons = good["undefined_reason"].drop_null().to_pylist()
        assert own.undefined_by == {name: reasons.count(name) for name in sorted(set(reasons))}
        assert own.whole.forwards == sum(good["forwards"].to_pylist())
        assert (
            own.failed
            == sorted(
                zip(
                    *(expected.filter(pc.is_valid(expected["error"]))[name].to_pylist() for name in ("id", "error")),
                    strict=True,
                )
            )[:SHOWN_FAILURES]
        )


@given(rows=st.lists(SWAPPED, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=3))
def test_means_are_those_of_the_rows_however_they_are_cut(rows: list[dict], cuts: list[int]) -> None:
    whole = table(
        [{"head": "a", "correct": True, "valid": True, "settled": "fixed", "forwards": 1, **row} for row in rows]
    )
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    parts = [whole.slice(a, b - a).select(SUMMED) for a, b in itertools.pairwise(edges)]
    found = read_sums(["a"], SWAP_RULE, lambda: parts)["a"].whole.swap_means()
    kept = [row for row in whole.to_pylist() if row["object_only"] is not None]
    assert found.gap.samples == len(kept)
    if kept:
        gaps = [row["object_only"] - row["background_only"] for row in kept]
        assert found.gap.value == pytest.approx(np.mean(gaps), abs=1e-8)
        assert found.fills == pytest.approx(np.mean([row["fills"] for row in kept]))
    assert found == read_sums(["a"], SWAP_RULE, lambda: parts[::-1])["a"].whole.swap_means(), "to the last bit"


def test_a_row_without_a_cluster_is_one_of_its_own() -> None:
    rows = [{"head": "a", "correct": True, "valid": True, "cluster": name} for name in ("d", None, "c", "d", None)]
    whole = table([row | {"undefined_reason": None, "error": None} for row in rows])
    d, first_alone, c, again, second_alone = clusters_of(whole).tolist()
    assert again == d
    assert len({d, first_alone, c, second_alone}) == 4
    assert states(whole).tolist() == [STATES.index("rr")] * 5
