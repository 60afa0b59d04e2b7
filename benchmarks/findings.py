"""The paper's question in small: what does fine-tuning do to PT and IR, and is what instruments find of it true?

Dual encoders are pre-trained and adapted as the paper does, LP, FT and FLCP, on pictures whose scene names the class
in a share of them. Zero-shot (ZS) and the three are asked, by every score, what their right and wrong predictions rest
on: by renderings of the test pictures, which is the truth (`benchmarks.graded_truth`), by swaps as `rate eval` does
them, and by maps. Every difference is paired with ZS by sample. A claim is a difference whose interval leaves out 0.

Rows of recipes that a call does not ask for stay in the table as they are.

    python -m benchmarks.findings [--work build/findings] [--befores 0.7] [--seeds 3] [--test 240] [--masks 256]
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.graded_models import Recipe, adapted, data, trained
from benchmarks.graded_scores import Scores, read
from benchmarks.graded_truth import labelled, true_shares
from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.data.make.synth import CLASSES
from rate.engine.evaluate import evaluate
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution
from rate.kernels.score import SCORES
from rate.report.heads import HeadRun, load_heads
from rate.runs.summary.slice_sums import states
from rate.statistics.metrics import STATES, quadrant_codes, sample_ratio
from rate.statistics.paired import difference, joint
from rate.types import Codes

METHODS = ("ZS", "LP", "FT", "FLCP")
BEFORE_AND_AFTER = ((1 / len(CLASSES), 0.9), (0.5, 0.9), (0.7, 0.7), (0.9, 0.9))
"""Shares of the pictures in which the scene names the class: in the pre-training, and in the adaptation and the test.
With the first, it names it by chance."""

METRICS = ("accuracy", "pt", "ir")
TABLE = record.RESULTS / "findings.csv"
BROKEN = "swap, broken"
TRUTH = {"swap": "truth", "map": "truth, mapped"}
"""Instrument -> the truth of the same pictures."""

Asked = tuple[str, str]  # instrument, score
Found = dict[Asked, dict[str, Codes]]  # -> method -> states of the samples in order of their ids


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/findings"))
    parser.add_argument(
        "--befores", nargs="+", type=float, default=[round(before, 3) for before, _ in BEFORE_AND_AFTER]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=240)
    parser.add_argument("--mapped", type=int, default=80, help="pictures that maps are drawn of: they cost more")
    parser.add_argument("--masks", type=int, default=256)
    parser.add_argument("--trained", action="store_true", help="only models that an earlier call has trained")
    arguments = parser.parse_args()
    rows, engine = _kept()
    for before, after in BEFORE_AND_AFTER:
        if round(before, 3) not in arguments.befores:
            continue
        found = []
        heads: dict[str, list[HeadRun]] = {"swap": [], "map": [], BROKEN: []}
        for seed in range(arguments.seeds):
            recipe = Recipe("resnet", "scene", after, seed, None if before == after else before)
            if arguments.trained and not trained(arguments.work, recipe):
                continue
            models = _Models(arguments, recipe)
            found.append(models.found())
            for instrument, runs in models.heads.items():
                heads[instrument] += runs
        if found:
            recipe_is = {"before": round(before, 3), "after": after}
            rows = [row for row in rows if not recipe_is.items() <= row.items()]
            rows += ({**recipe_is, "of": len(found), **row} for row in _rows(found))
            engine = [one for one in engine if not recipe_is.items() <= one.items()] + [recipe_is | _engine(heads)]
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figures = {"test": arguments.test, "mapped": arguments.mapped, "seeds": arguments.seeds}
    figures |= {"masks": arguments.masks, "engine": engine, "claims": list(claims(rows))}
    record.write("findings", figures)


def _kept() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of earlier calls, and what their runs took."""
    if not TABLE.exists():
        return [], []
    words = ("instrument", "score", "method", "metric", "seeds")
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = [
            {name: text if name in words else json.loads(text or "null") for name, text in row.items()}
            for row in csv.DictReader(file)
        ]
    return rows, json.loads((record.RESULTS / "findings.json").read_text())["figures"]["engine"]


class _Models:
    """Four heads of one recipe, and what every instrument finds of them."""

    def __init__(self, arguments: argparse.Namespace, recipe: Recipe) -> None:
        self._arguments, self._recipe = arguments, recipe
        self._models = adapted(arguments.work, recipe)
        self._set = data(arguments.work, recipe, recipe.rho, 0, arguments.test, 300 + recipe.seed)
        self.heads: dict[str, list[HeadRun]] = {"swap": [], "map": [], BROKEN: []}  # instrument -> evaluated heads

    def found(self) -> Found:
        """Ask the instruments, and the renderings."""
        found: Found = {}
        for score in SCORES:
            found["swap", score] = self._run("swap", "test", Measurement(verdict="swap", score=score))
            measurement = Measurement(verdict="map", score=score, masks=self._arguments.masks)
            found["map", score] = self._run("map", "test", measurement, self._arguments.mapped)
        found[BROKEN, "centred"] = self._run(BROKEN, "test-broken", Measurement(verdict="swap", score="centred"))
        truth = self._truth({method: _right(codes) for method, codes in found["swap", "logit"].items()})
        for score, by_method in truth.items():
            found[TRUTH["swap"], score] = by_method
            found[TRUTH["map"], score] = {
                method: codes[: self._arguments.mapped] for method, codes in by_method.items()
            }
        return found

    def _run(self, instrument: str, split: str, measurement: Measurement, limit: int | None = None) -> dict[str, Codes]:
        """method -> states by a run of `rate eval`, one for the heads of an artifact."""
        execution = Execution(save_maps=0, limit=limit)
        evaluated: dict[tuple[Path, str], HeadRun] = {}
        for artifact in {artifact.path: artifact for artifact, _ in self._models.values()}.values():
            out = self._folder(artifact) / f"run-{split}-{measurement.verdict}-{measurement.score}"
            job = job_from_artifact(artifact, self._set / "manifest.csv", split, measurement, execution)
            with open_runner(artifact, job) as runner:
                evaluate(job, runner, out)
            evaluated |= {(artifact.path, head.head): head for head in load_heads(str(out))}
        self.heads[instrument] += evaluated.values()
        return {
            method: states(evaluated[artifact.path, head].rows()) for method, (artifact, head) in self._models.items()
        }

    def _truth(self, right: dict[str, Any]) -> dict[str, dict[str, Codes]]:
        """score -> method -> states."""
        found: dict[str, dict[str, Codes]] = {score: {} for score in SCORES}
        drawn = read(self._set, self._arguments.test)
        for method, (artifact, head) in self._models.items():
            pictures = labelled(drawn, artifact, head)
            shares = true_shares(Scores(artifact, pictures, self._folder(artifact) / "logits"), head, pictures)
            undefined = STATES.index("undefined_right") + ~right[method]
            for score, own in zip(SCORES, shares, strict=True):
                judged = quadrant_codes(right[method], own >= 0.5)
                found[score][method] = np.where(np.isfinite(own), judged, undefined)
        return found

    def _folder(self, artifact: Artifact) -> Path:
        name = f"{self._recipe.name}-{artifact.path.name}"
        return Path(self._arguments.work) / "measured" / name


def _right(codes: Codes) -> Any:
    """[n] which predictions are right."""
    return np.isin(codes, [STATES.index(state) for state in ("rr", "rw", "undefined_right")])


def _rows(found: list[Found]) -> Iterator[dict[str, Any]]:
    """One row an instrument, score, method and metric: each seed's value, that of all samples, the difference to ZS."""
    for instrument, score in found[0]:
        seeds = [one[instrument, score] for one in found]
        for method in METHODS:
            own = np.concatenate([seed[method] for seed in seeds])
            tables = sum(joint(seed["ZS"], seed[method]) for seed in seeds)
            for metric in METRICS:
                ratio, change = sample_ratio(metric, own, None), difference(metric, np.asarray(tables))
                yield {
                    "instrument": instrument,
                    "score": score,
                    "method": method,
                    "metric": metric,
                    "seeds": " ".join(f"{sample_ratio(metric, seed[method], None).value or 0:.3f}" for seed in seeds),
                    "value": _rounded(ratio.value),
                    "numerator": ratio.numerator,
                    "denominator": ratio.denominator,
                    "minus_zs": _rounded(change.value),
                    "low": _rounded(change.low),
                    "high": _rounded(change.high),
                }


def claims(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """How an instrument's claims on PT and IR of LP, FT and FLCP compare with true ones, by score and over recipes."""
    for instrument, reference in TRUTH.items():
        truth = {_question(row): row for row in rows if row["instrument"] == reference}
        for score in SCORES:
            for metric in ("pt", "ir"):
                own = [
                    row
                    for row in rows
                    if (row["instrument"], row["score"], row["metric"]) == (instrument, score, metric)
                    and row["method"] != "ZS"
                ]
                pairs = [(_claim(row), _claim(truth[_question(row)])) for row in own]
                both = ((row["minus_zs"], truth[_question(row)]["minus_zs"]) for row in own)
                far = [abs(said - true) for said, true in both if None not in (said, true)]
                yield {
                    "instrument": instrument,
                    "score": score,
                    "metric": metric,
                    "differences": len(own),
                    "true_claims": sum(true != 0 for _, true in pairs),
                    "found": sum(said == true != 0 for said, true in pairs),
                    "missed": sum(said == 0 != true for said, true in pairs),
                    "invented": sum(said != 0 == true for said, true in pairs),
                    "reversed": sum(said * true < 0 for said, true in pairs),
                    "mean_distance": _rounded(float(np.mean(far))),
                    "largest_distance": _rounded(max(far)),
                }


def _question(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("before", "after", "score", "method", "metric"))


def _claim(row: dict[str, Any]) -> int:
    """1 where the difference to ZS is above 0, -1 where it is below, 0 where nothing can be said."""
    if row["low"] is None or row["high"] is None:
        return 0
    return int(row["low"] > 0) - int(row["high"] < 0)


def _engine(heads: dict[str, list[HeadRun]]) -> dict[str, Any]:
    """How full the batches were and how long the device waited, the worst of all runs; forwards by instrument."""
    whole = {head.folder: head.whole.throughput for runs in heads.values() for head in runs}
    return {
        "runs": len(whole),
        "least_batch_fill": round(min(one.batch_fill or 0.0 for one in whole.values()), 4),
        "longest_wait_for_data": round(max(one.waiting_for_data or 0.0 for one in whole.values()), 6),
        "forwards_of_a_sample": {
            instrument: round(float(np.mean([np.mean(head.rows()["forwards"].to_pylist()) for head in runs])), 1)
            for instrument, runs in heads.items()
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
