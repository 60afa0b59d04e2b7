"""From the answers of workers to the figures and the table of `benchmarks.peers`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peer_tools import Tool

AT = 4000
"""Masks of a peer that `rate`'s adaptive mode is held against."""

TARGETS = {"rate-swap": 1 / 120, "rate-auto": 0.04}
"""CPU time an image of the adaptive modes over that."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One answer of one tool, for all images of a request."""

    tool: Tool
    masks: int  # what all were asked for; a tool of its own number goes with those of this one
    round: int
    images: int
    answer: dict[str, Any]  # see `worker.serve`

    def per_image(self, name: str) -> float:
        """A figure of the answer, an image."""
        return float(self.answer[name]) / self.images


def spread(values: Sequence[float], digits: int = 3) -> Figures:
    """Median, least and greatest."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def rows(asked: Sequence[Asked], masks: int) -> dict[str, Figures]:
    """Tool -> its figures where ``masks`` were asked for, in order of appearance."""
    fastest = fastest_peer(asked, masks)
    found = {}
    for name in dict.fromkeys(one.tool.name for one in asked if one.masks == masks):
        own = _of(asked, name, masks)
        figures = {
            "rounds": len(own),
            "forwards_per_image": round(statistics.median(one.per_image("forwards") for one in own), 1),
            "cpu_s_per_image": spread([one.per_image("cpu_s") for one in own]),
            "wall_s_per_image": spread([one.per_image("wall_s") for one in own]),
            "cpu_ms_per_forward": spread([1000 * one.answer["cpu_s"] / one.answer["forwards"] for one in own]),
            "peak_mb": round(max(one.answer["peak_mb"] for one in own)),
            "idle_share": round(_total(own, "idle_cpu_s") / _total(own, "idle_wall_s"), 4),
            "unsound_maps": sum(one.answer["unsound"] for one in own),
        }
        if fastest is not None:
            figures["over_fastest_peer"] = over(own, _of(asked, fastest, masks))
        found[name] = figures
    return found


def fastest_peer(asked: Sequence[Asked], masks: int) -> str | None:
    """The peer with the least CPU time an image, of those that take as many masks as they are asked for."""
    peers = [one for one in asked if one.masks == masks and one.tool.is_peer and one.tool.masks == "n"]
    return min(
        dict.fromkeys(one.tool.name for one in peers),
        key=lambda name: statistics.median(one.per_image("cpu_s") for one in _of(peers, name, masks)),
        default=None,
    )


def over(own: Sequence[Asked], other: Sequence[Asked], times: float = 1.0) -> Figures:
    """Ratios within the rounds that both have, of CPU and of wall time; ``times``: as many of the other's masks."""
    before = {one.round: one for one in other}
    pairs = [(one, before[one.round]) for one in own if one.round in before]

    def ratios(name: str) -> Figures:
        return spread([a.per_image(name) / (b.per_image(name) * times) for a, b in pairs], 4)

    return {"cpu": ratios("cpu_s"), "wall": ratios("wall_s")} if pairs else {}


def auto_over_peer(asked: Sequence[Asked], name: str, masks: int) -> Figures | None:
    """An adaptive mode of `rate` over the fastest peer at 4,000 masks, measured or extrapolated from ``masks``."""
    own = _of(asked, name, masks)
    fastest = fastest_peer(asked, masks)
    if not own or fastest is None:
        return None
    found = over(own, _of(asked, fastest, masks), times=AT / masks)
    return {
        "tool": name,
        "peer": fastest,
        "peer_masks": AT,
        "peer_time": "measured" if masks == AT else f"extrapolated linearly from {masks} masks",
        **found,
        "target": TARGETS[name],
    }


def verdicts_kept(auto: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]]) -> Figures:
    """Verdicts of an adaptive mode beside those of a reference, sample by sample."""
    known = {row["id"]: row["valid"] for row in reference}
    both = [row for row in auto if row["valid"] is not None and known.get(row["id"]) is not None]
    decided = [row for row in both if row["settled"] == "decided"]
    return {
        "images": len(auto),
        "undefined_in_either": len(auto) - len(both),
        "decided": len(decided),
        "decided_equal": sum(row["valid"] == known[row["id"]] for row in decided),
        "capped": len(both) - len(decided),
        "capped_equal": sum(row["valid"] == known[row["id"]] for row in both if row["settled"] != "decided"),
    }


def table(measured: dict[str, Figures], masks: int) -> str:
    """Markdown: a tool a row."""
    columns: dict[str, Callable[[Figures], str]] = {
        "forwards an image": lambda row: f"{row['forwards_per_image']:g}",
        "CPU s an image": lambda row: _range(row["cpu_s_per_image"]),
        "wall s an image": lambda row: _range(row["wall_s_per_image"]),
        "CPU ms a forward": lambda row: f"{row['cpu_ms_per_forward']['median']:.3g}",
        "CPU over fastest peer": lambda row: _ratio(row, "cpu"),
        "wall over fastest peer": lambda row: _ratio(row, "wall"),
        "peak MB": lambda row: str(row["peak_mb"]),
    }
    lines = [[f"N = {masks}", *columns], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(show(row) for show in columns.values())] for name, row in measured.items()]
    return "\n".join(_line(cells) for cells in lines)


def _of(asked: Sequence[Asked], name: str, masks: int) -> list[Asked]:
    return [one for one in asked if one.tool.name == name and one.masks == masks]


def _total(own: Sequence[Asked], name: str) -> float:
    return sum(one.answer[name] for one in own)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _range(figure: Figures) -> str:
    return f"{figure['median']:.3g} ({figure['min']:.3g} - {figure['max']:.3g})"


def _ratio(row: Figures, name: str) -> str:
    found = row.get("over_fastest_peer")
    return f"{found[name]['median']:.3g}" if found else "-"


def unsound(measured: dict[int, dict[str, Figures]]) -> Iterator[str]:
    """What would make the figures worthless, one sentence each."""
    for masks, found in measured.items():
        for name, row in found.items():
            if row["unsound_maps"]:
                yield f"{name} made {row['unsound_maps']} maps at N = {masks} that are not finite or are constant"
            if row["idle_share"] > 0.02:
                yield f"{name} used {row['idle_share']:.1%} of a core while it was not asked, at N = {masks}"
