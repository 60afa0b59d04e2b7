"""The compact rows of a head: the same counts as from the rows themselves, in any order of parts."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rate.runs.head_rows import HEAD_ROW_COLUMNS, clusters_of, read_heads, states
from rate.runs.rows import SCHEMA
from rate.statistics.metrics import METRICS, STATES, Counts, sample_ratio

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


def table(rows: list[dict]) -> pa.Table:
    whole = []
    for k, row in enumerate(rows):
        blank = dict.fromkeys(SCHEMA.names) | {"id": f"s{k}", "label": "x"} | row
        if row["error"]:
            blank |= {"correct": None, "valid": None, "undefined_reason": None, "rma_positive": None}
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


@settings(deadline=None)
@given(rows=st.lists(ROW, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=3), backwards=st.booleans())
def test_counts_are_those_of_the_rows_however_they_are_cut(rows: list[dict], cuts: list[int], backwards: bool) -> None:
    whole = table(rows)
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    parts = [whole.slice(a, b - a).select(HEAD_ROW_COLUMNS) for a, b in itertools.pairwise(edges)]
    found = read_heads(["a", "b"], parts[::-1] if backwards else parts)
    for head, own in found.items():
        expected = whole.filter(pc.equal(whole["head"], head))
        assert len(own) == len(expected)
        assert own.counts() == counted(expected)
        assert (np.diff(own.rank.astype(object)) >= 0).all()
        for name, chosen in own.by_group():
            assert own.counts(chosen) == counted(expected.filter(pc.equal(expected["group"], name)))
        clusters = expected["cluster"].to_pylist()
        named = {name for name in clusters if name}
        assert own.clusters == (len(named) + clusters.count(None) if named else None)
        for metric in METRICS:
            assert own.ratio(metric) == sample_ratio(metric, states(expected), clusters_of(expected))
        reasons = expected.filter(pc.is_null(expected["error"]))["undefined_reason"].drop_null().to_pylist()
        assert own.undefined_by() == {name: reasons.count(name) for name in sorted(set(reasons))}


def test_what_a_row_lacks_is_not_a_number() -> None:
    row = {"head": "a", "correct": True, "valid": True, "undefined_reason": None, "settled": "fixed"}
    rows = [row | {"error": error, "group": None, "forwards": 3, "rma_positive": 0.25} for error in (None, "broken")]
    own = read_heads(["a"], [table(rows).select(HEAD_ROW_COLUMNS)])["a"]
    assert own.verdicts("positive", own.judged).mass == pytest.approx([0.25])
    assert np.isnan(own.columns["rma_positive"]).sum() == 1
    assert np.isnan(own.columns["rma_se"]).all()


def test_a_row_without_a_cluster_is_one_of_its_own() -> None:
    rows = [{"head": "a", "correct": True, "valid": True, "cluster": name} for name in ("d", None, "c", "d", None)]
    whole = table([row | {"undefined_reason": None, "error": None} for row in rows])
    d, first_alone, c, again, second_alone = clusters_of(whole).tolist()
    assert (again, first_alone, second_alone) == (d, 2, 3)
    assert {c, d} == {0, 1}
    assert clusters_of(whole.slice(1, 1)) is None
    assert states(whole).tolist() == [STATES.index("rr")] * 5
