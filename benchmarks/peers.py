"""What one explained image costs in `rate` and in other tools: CPU time, wall time, memory, forwards.

One model, the same images, the same number of threads and cores. Every tool is a process that has loaded the model and
sleeps while others work; a round asks each of them for the same images, and rounds start with another tool each. Peers
live in environments of their own under build/peers, made on the first run; one that cannot be installed is named and
left out.

    python -m benchmarks.peers [--model vit_base_patch32_224] [--n 256 1000] [--rounds 3 1] [--images 4] [--threads 2]
        [--tools NAME ...]

Random weights, synthetic photographs: right for time at equal N, of no use to the adaptive mode, whose cost depends on
the verdicts. The second form takes a trained model, and adds swaps and maps that end when the verdict is clear against
the fastest peer at 4,000 masks, its time extrapolated linearly from the largest N unless that is 4,000; and how many of
the verdicts 64 other pictures, or 4,000 other masks, confirm:

    RATE_TEST_DATA=FOLDER python -m benchmarks.peers --auto [--source SOURCE --data MANIFEST [--split S] --classes FILE]

FOLDER holds `caltech101-boxes` and `open_clip_efflite0_caltech`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import peer_figures, record
from benchmarks.peer_figures import Asked
from benchmarks.peer_models import Forms, Subject, synthetic, trained
from benchmarks.peer_tools import ROOT, Tool, Unavailable, Worker, interpreter, tools
from rate.backends.process import usable_cores

AUTO = {"rate-swap": ("fills", 64, {"bank": "train"}), "rate-auto": ("masks", peer_figures.AT, {"seed": 1})}
"""The adaptive modes -> what their verdicts face, how many, and how those differ from the mode's own."""

SPEED_TOOLS = ("rate-bf16", "rate-f32", "rate-int8", "openvino-xai", "xaitk", "dianna", "torch-rise", "captum")
AUTO_TOOLS = (*AUTO, "rate-f32", "openvino-xai", "xaitk", "dianna")
TARGETS = {"rate-bf16": 0.80, "rate-int8": 0.49}
"""CPU time an image over the fastest peer, at equal N."""

SAME = 0.05
"""Greatest relative difference of a probability between tools that compute in f32."""

Missing = dict[str, str]
"""Tool -> why it was not measured."""


def main() -> None:
    """Measure and record."""
    arguments = _arguments()
    confine(arguments.threads)
    work = Path("build/peers")
    try:
        subject = _subject(arguments, work)
    except Unavailable as error:
        raise SystemExit(str(error)) from error
    forms = Forms(subject, work / "models", arguments.images)
    chosen = [tools()[name] for name in arguments.tools]
    missing: Missing = {}
    with tempfile.TemporaryDirectory() as logs, ExitStack() as stack:
        workers = list(started(chosen, forms, arguments.threads, Path(logs), missing, stack))
        check_same(workers)
        asked = list(measure(workers, arguments.n, arguments.rounds, arguments.images, missing))
        about = {worker.tool.name: worker.loaded | {"note": worker.tool.note} for worker in workers}
    kept = list(reference(forms, arguments, asked)) if arguments.auto else []
    write(subject, arguments, asked, about, missing, kept)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--auto", action="store_true", help="the adaptive mode on a trained model")
    parser.add_argument("--model", default="vit_base_patch32_224", help="of timm, with random weights")
    parser.add_argument("--source", help="with --auto: a model as `rate export` takes it")
    parser.add_argument("--data", type=Path, help="with --source: its manifest")
    parser.add_argument("--split", help="of that manifest")
    parser.add_argument("--classes", type=Path, help="with --source: as `rate export` takes it")
    parser.add_argument("--n", type=int, nargs="+", help="masks an image")
    parser.add_argument("--rounds", type=int, nargs="+", help="of each N, the last one for all that follow")
    parser.add_argument("--images", type=int, help="of a request")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--tools", nargs="+", choices=sorted(tools()))
    parser.add_argument("--name", help="of the file of results")
    found = parser.parse_args()
    if (found.source is None) != (found.data is None) or (found.source is not None and not found.auto):
        parser.error("--source and --data go together, and with --auto")
    found.n = sorted(found.n or ([1000] if found.auto else [256, 1000]))
    found.rounds = found.rounds or ([3] if found.auto else [3, 1])
    found.images = found.images or (12 if found.auto else 4)
    found.tools = found.tools or (AUTO_TOOLS if found.auto else SPEED_TOOLS)
    found.name = found.name or ("peers_auto" if found.auto else "peers")
    return found


def _subject(arguments: argparse.Namespace, work: Path) -> Subject:
    if not arguments.auto:
        return synthetic(work, arguments.model)
    if arguments.source is None:
        return trained(work)
    return Subject(arguments.source, arguments.source, arguments.classes, arguments.data, arguments.split)


def confine(threads: int) -> None:
    """Keep this process and all workers on so many cores, since not every tool has a setting for threads."""
    if not 1 <= threads <= usable_cores():
        raise SystemExit(f"--threads {threads}: this process may use {usable_cores()} cores; give 1 to that many")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def started(
    chosen: Sequence[Tool], forms: Forms, threads: int, logs: Path, missing: Missing, stack: ExitStack
) -> Iterator[Worker]:
    """A worker of each tool that can be had here, loaded one after the other."""
    for tool in chosen:
        try:
            worker = stack.enter_context(running(tool, forms, threads, logs))
        except Unavailable as error:
            missing[tool.name] = str(error)
            print(f"{tool.name} is left out: {error}", flush=True)
        else:
            loaded = worker.loaded
            print(f"{tool.name} {loaded['version']}: {loaded['runtime']}, {loaded['precision']}", flush=True)
            yield worker


@contextmanager
def running(tool: Tool, forms: Forms, threads: int, logs: Path) -> Iterator[Worker]:
    """A loaded worker, ended afterwards.

    Raises:
        Unavailable: it cannot be installed, fed or loaded.
    """
    python = interpreter(tool, Path("build/peers"))
    setup = forms.setup(tool.files, tool.options, threads)
    worker = Worker(tool, python, setup, logs / f"{tool.name}.txt")
    try:
        yield worker
    finally:
        worker.close()


def check_same(workers: Sequence[Worker]) -> None:
    """All tools that compute in f32 must see the same model and the same image.

    Raises:
        SystemExit: they answer differently.
    """
    exact = {worker.tool.name: worker.loaded for worker in workers if worker.loaded["precision"] == "f32"}
    first: dict[str, Any] | None = next(iter(exact.values()), None)
    for name, loaded in exact.items():
        assert first is not None
        same = abs(loaded["probability"] - first["probability"]) <= SAME * first["probability"]
        if loaded["prediction"] != first["prediction"] or not same:
            answers = {tool: (one["prediction"], one["probability"]) for tool, one in exact.items()}
            raise SystemExit(f"{name} does not compute what the others do; class and probability of image 0: {answers}")


def measure(
    workers: Sequence[Worker], counts: Sequence[int], rounds: Sequence[int], images: int, missing: Missing
) -> Iterator[Asked]:
    """Every answer. The smallest N first, so that peaks of memory belong to their N."""
    left = list(workers)
    for position, masks in enumerate(counts):
        last = masks == counts[-1]
        at = {"n": True, "windows": position == 0, "auto": last}
        for number in range(rounds[min(position, len(rounds) - 1)]):
            turn = [worker for worker in left if at[worker.tool.masks]]
            first = number % max(1, len(turn))
            for worker in turn[first:] + turn[:first]:
                try:
                    answer = worker.ask(range(images), "auto" if worker.tool.masks == "auto" else masks)
                except Unavailable as error:
                    missing[worker.tool.name] = str(error)
                    left.remove(worker)
                    print(f"{worker.tool.name} failed: {error}", flush=True)
                    continue
                print(f"N {masks} round {number}: {worker.tool.name} {answer['cpu_s'] / images:.2f} CPU s", flush=True)
                yield Asked(worker.tool, masks, number, images, answer)


def reference(forms: Forms, arguments: argparse.Namespace, asked: Sequence[Asked]) -> Iterator[dict[str, Any]]:
    """The adaptive verdicts beside those of other masks or other pictures, many of them, in f32."""
    for name, (kind, count, different) in AUTO.items():
        own = next((one for one in asked if one.tool.name == name), None)
        if own is None:
            continue
        options = own.tool.options | {"backend": "openvino", "precision": "f32"} | different
        other = replace(own.tool, options=options)
        with tempfile.TemporaryDirectory() as logs, running(other, forms, arguments.threads, Path(logs)) as worker:
            answer = worker.ask(range(arguments.images), count)
        kept = peer_figures.verdicts_kept(own.answer["verdicts"], answer["verdicts"])
        yield {"tool": name, f"reference_{kind}": count} | kept


def write(
    subject: Subject,
    arguments: argparse.Namespace,
    asked: Sequence[Asked],
    about: dict[str, Any],
    missing: Missing,
    kept: list[dict[str, Any]],
) -> None:
    """Record the figures and print the table."""
    if not asked:
        raise SystemExit(f"no tool could be measured: {missing}")
    measured = {masks: peer_figures.rows(asked, masks) for masks in arguments.n}
    figures = {
        "model": subject.name,
        "threads": arguments.threads,
        "images": arguments.images,
        "tools": about,
        "not_measured": {name: why.replace(str(ROOT), ".") for name, why in missing.items()},
        "targets_of_cpu_over_fastest_peer": TARGETS,
        "n": {
            str(masks): {"fastest_peer": peer_figures.fastest_peer(asked, masks), "tools": found}
            for masks, found in measured.items()
        },
        "notices": list(peer_figures.unsound(measured)),
    }
    if arguments.auto:
        figures["auto"] = [peer_figures.auto_over_peer(asked, name, arguments.n[-1]) for name in AUTO]
        figures["verdicts"] = kept
    record.write(arguments.name, figures)
    for masks, found in measured.items():
        print(f"\n{peer_figures.table(found, masks)}")
    for notice in figures["notices"]:
        print(f"\n{notice}")


if __name__ == "__main__":
    main()
