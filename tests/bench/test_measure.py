"""What a measurement counts, that nothing runs outside it, and in which order."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from function_models import open_spec

from rate.backends.base import Backend, Logits, Pending
from rate.backends.batches import HostImages
from rate.backends.fake import FakeBackend, FakeSpec
from rate.bench.measure import measure, warmed_up
from rate.bench.meter import Meter
from rate.bench.plan import Images
from rate.bench.settings import BenchSettings
from rate.config import Measurement
from rate.data.images.geometry import Geometry
from rate.engine.engine import slots_of
from rate.engine.job import Job
from rate.engine.verdicts.prediction import Head
from rate.errors import BackendError
from rate.execution import Execution
from rate.types import Float32, Picture, Prepared, Rows, Sample, SoftRegion

SIZE = 24
HEADS = (Head("a", ("0", "1")), Head("b", ("0", "1", "2")))


def model(x: Float32) -> Logits:
    level = x.mean(axis=(1, 2, 3))
    return {"a": np.stack([level, -level], 1), "b": np.stack([level, -level, 0 * level], 1)}


def images() -> Images:
    rng = np.random.default_rng(0)
    geometry = Geometry(SIZE, SIZE, (0.5,) * 3, (0.25,) * 3)
    levels = rng.integers(0, 256, (3, 3, SIZE, SIZE)).astype(np.uint8)
    region = np.zeros((SIZE, SIZE), np.bool_)
    region[6:18, 6:18] = True

    def decode(sample: Sample) -> Prepared:
        return Prepared(sample, geometry.picture(levels[int(sample.id)]), region)

    job = Job(
        heads=HEADS,
        geometry=geometry,
        samples=tuple(Sample(id=str(k), label="0", image="") for k in range(3)),
        measurement=Measurement(verdict="map"),
        execution=Execution(),
        weights="w",
        data="noise",
        origin={},
        available=3,
    )
    return Images("noise", job, decode)


def job(batch: int, **measured: object) -> Job:
    return replace(images().job, measurement=Measurement(**measured), execution=Execution(batch=batch))


@dataclass
class Lazy:
    """A device that computes when it is waited for, and knows what was left with it."""

    backend: Backend
    depth: int = 3
    name: str = "lazy"
    precision: str = "f32"
    device: str = "cpu"
    version: str = "1"
    rows: list[Rows] = field(default_factory=list)
    unfinished: int = 0
    most: int = 0

    @property
    def sizes(self) -> list[int]:
        return [len(rows) for rows in self.rows]

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        self.backend.put(slot, picture, region)

    def submit(self, rows: Rows) -> Pending:
        self.rows.append(rows)
        self.unfinished += 1
        self.most = max(self.most, self.unfinished)
        return LazyPending(self, rows)


@dataclass
class LazyPending:
    device: Lazy
    rows: Rows
    done: bool = False
    idle_s: float = 0.0

    def wait(self) -> Logits:
        assert not self.done, "a request was waited for twice, and may be another batch's by now"
        self.done = True
        self.device.unfinished -= 1
        return self.device.backend.submit(self.rows).wait()


def lazy(one: Job, room: int, depth: int = 3) -> Lazy:
    plain = FakeBackend(model, one.method.perturbation, HostImages(room, SIZE))
    return Lazy(plain, depth)


@pytest.mark.parametrize(("masks", "batch"), [(40, 8), (5, 32), (31, 32), (2, 1)])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_measurement_counts_what_was_computed_in_it(masks: int, batch: int, depth: int) -> None:
    """Full batches only, as many in flight as the device keeps, none left over, and a verdict at least."""
    one = job(batch, masks=masks)
    device = lazy(one, slots_of(one), depth)
    with closing(Meter(one, device, 0, images())) as meter:
        assert device.sizes == [1], "setting up is one row, and no part of a measurement"
        settled = 0
        for rows in (1, 2 * batch, 200):
            before = len(device.sizes)
            window = meter.measure(rows)
            computed = device.sizes[before:]
            assert set(computed) == {batch}
            assert window.rows == sum(computed) >= rows
            assert device.unfinished == 0
            assert window.images >= 1
            settled += window.images
            ahead = sum(device.sizes) - 1 - settled * (1 + masks)
            assert 0 <= ahead <= slots_of(one) * (1 + masks), "rows of images that have no verdict yet"
    assert device.most == depth


def test_a_measurement_ends_with_a_verdict() -> None:
    """So that measurements of images of many batches begin and end alike."""
    one = job(4, masks=31)
    device = lazy(one, slots_of(one), depth=1)
    with closing(Meter(one, device, 0, images())) as meter:
        windows = [meter.measure(rows) for rows in (1, 1, 33, 1)]
    assert [(window.rows, window.images) for window in windows] == [(32, 1), (32, 1), (64, 2), (32, 1)]


def test_a_measurement_cannot_be_faster_than_the_device() -> None:
    """Neither figure may profit from what is computed in advance: a row takes a millisecond, in the engine or alone."""

    def slow(x: Float32) -> Logits:
        time.sleep(0.001 * len(x))
        return model(x)

    settings = BenchSettings(batch=(8,), masks=(23,), rounds=3, seconds=0.05)
    with open_spec(FakeSpec(slow)) as backend, warmed_up(settings, images(), [backend]) as meters:
        [row] = measure(meters, settings.rounds)
    raw, engine = row.raw_forwards_per_s, row.engine_forwards_per_s
    assert max(raw.rounds + engine.rounds) <= 1000
    assert row.engine_over_raw.rounds == pytest.approx([a / b for a, b in zip(engine.rounds, raw.rounds, strict=True)])
    assert row.images_per_s.rounds == pytest.approx([pace / 24 for pace in engine.rounds])
    assert (row.artifact, row.data, row.batch, row.masks) == ("w", "noise", 8, 23)


def test_masks_drawn_for_nothing_are_a_cost_of_an_image() -> None:
    """`auto` has no number of masks to divide by: images a second are those that were settled in that time."""
    one = job(8, masks="auto", max_masks=128)
    device = lazy(one, slots_of(one))
    with closing(Meter(one, device, 0, images())) as meter:
        began = time.perf_counter()
        meter.round()
        row, seconds = meter.row(), time.perf_counter() - began
    assert row.masks == "auto"
    assert row.images >= 1
    assert row.images / row.images_per_s.median < seconds
    settled = row.images_per_s.median / row.engine_forwards_per_s.median
    raw = 8 * device.sizes.count(8) - row.images / settled
    assert raw == pytest.approx(4 * 8), "what the engine did not compute is the backend alone"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_backend_alone_gets_clean_rows_of_one_batch(batch: int) -> None:
    one = job(batch, masks=5)
    device = lazy(one, 2 * slots_of(one))
    with closing(Meter(one, device, slots_of(one), images())) as meter:
        device.rows.clear()
        assert meter.measure_raw(6) > 0
    assert [len(rows) for rows in device.rows] == [batch] * 6
    assert device.most == 3
    assert all((rows.grid == one.method.perturbation.clean).all() for rows in device.rows)
    assert all((rows.slot >= slots_of(one)).all() for rows in device.rows), "slots of another meter"


def test_rounds_go_over_all_configurations_forwards_and_backwards_in_turn() -> None:
    settings = BenchSettings(batch=(2, 4), masks=(3, 6), rounds=3, seconds=0.001)
    seen: list[tuple[int, str]] = []
    said: list[str] = []
    with ExitStack() as stack:
        backends = [stack.enter_context(open_spec(FakeSpec(model, depth))) for depth in (1, 3)]
        meters = stack.enter_context(warmed_up(settings, images(), backends, said.append))
        rows = measure(meters, settings.rounds, lambda done, what: seen.append((done, what)))
    assert [done for done, _ in seen] == list(range(1, 25))
    names = [what for _, what in seen]
    assert names[:4] == [f"fake f32 batch {batch} masks {masks}" for batch in (2, 4) for masks in (3, 6)]
    assert names[8:16] == names[:8][::-1]
    assert names[16:] == names[:8]
    assert [(one.backend, one.batch, one.masks) for one in rows] == [
        ("fake", batch, masks) for batch in (2, 4, 2, 4) for masks in (3, 6)
    ]
    assert all(len(one.raw_forwards_per_s.rounds) == len(one.images_per_s.rounds) == 3 for one in rows)
    assert len(said) == len(rows) == 8


def test_a_model_that_fails_ends_the_bench_with_its_name() -> None:
    calls = iter(range(1000))

    def fails(x: Float32) -> Logits:
        found = model(x)
        return {name: values * (np.nan if next(calls) > 40 else 1) for name, values in found.items()}

    settings = BenchSettings(batch=(4,), masks=(11,), seconds=0.001, rounds=20)
    with (
        open_spec(FakeSpec(fails)) as backend,
        warmed_up(settings, images(), [backend]) as meters,
        pytest.raises(BackendError, match=r"fake f32 batch 4 masks 11 fails on .*not finite"),
    ):
        measure(meters, settings.rounds)


def test_an_interrupted_bench_leaves_no_threads() -> None:
    threads = threading.active_count()
    settings = BenchSettings(batch=(2,), masks=(3,), seconds=0.001)

    def interrupt(done: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with (
        open_spec(FakeSpec(model)) as backend,
        pytest.raises(KeyboardInterrupt),
        warmed_up(settings, images(), [backend]) as meters,
    ):
        measure(meters, settings.rounds, interrupt)
    deadline = time.monotonic() + 10
    while threading.active_count() > threads:
        assert time.monotonic() < deadline, "decoding threads are still there"
        time.sleep(0.01)
