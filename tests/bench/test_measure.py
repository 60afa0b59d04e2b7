"""What a measurement counts, that nothing runs outside it, and that streams on one device do not disturb each other."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pytest
from function_models import open_spec
from msgspec import structs

from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.base import Backend, Logits, Pending
from rate.backends.batches import HostImages, clean_rows
from rate.backends.fake import FakeBackend, FakeSpec
from rate.bench.measure import warmed_up
from rate.bench.plan import Images
from rate.bench.settings import BenchSettings
from rate.bench.stream import RAW_SLOTS, Metered, Raw, Stream
from rate.config import Execution, Measurement
from rate.engine.engine import slots_of
from rate.engine.job import Job
from rate.engine.verdict import Head
from rate.errors import BackendError
from rate.types import Float32, Prepared, Rows, Sample, SoftRegion

SIZE = 24
HEADS = (Head("a", ("0", "1")), Head("b", ("0", "1", "2")))


def model(x: Float32) -> Logits:
    level = x.mean(axis=(1, 2, 3))
    return {"a": np.stack([level, -level], 1), "b": np.stack([level, -level, 0 * level], 1)}


def images() -> Images:
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    region = np.zeros((SIZE, SIZE), np.bool_)
    region[6:18, 6:18] = True

    def decode(sample: Sample) -> Prepared:
        return Prepared(sample, pixels[int(sample.id)], region)

    samples = tuple(Sample(id=str(k), label="0", image="") for k in range(3))
    return Images("noise", "noise", HEADS, samples, decode)


@pytest.fixture
def artifact(trained) -> Artifact:
    found = load_artifact(trained.artifact)
    return structs.replace(found, geometry=structs.replace(found.geometry, size=SIZE, resize=SIZE))


def job(artifact: Artifact, masks: int, batch: int) -> Job:
    return images().job(artifact, Measurement(masks=masks), Execution(batch=batch))


@dataclass
class Lazy:
    """A device that computes when it is waited for, and knows what was left with it."""

    backend: Backend
    depth: int = 3
    name: str = "lazy"
    precision: str = "f32"
    device: str = "cpu"
    version: str = "1"
    sizes: list[int] = field(default_factory=list)
    unfinished: int = 0
    most: int = 0

    def put(self, slot: int, pixels: Float32, region: SoftRegion | None = None) -> None:
        self.backend.put(slot, pixels, region)

    def submit(self, rows: Rows) -> Pending:
        self.sizes.append(len(rows))
        self.unfinished += 1
        self.most = max(self.most, self.unfinished)
        return LazyPending(self, rows)


@dataclass
class LazyPending:
    device: Lazy
    rows: Rows
    done: bool = False

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
def test_a_measurement_counts_what_was_computed_in_it(artifact, masks: int, batch: int, depth: int) -> None:
    """Full batches only, as many in flight as the device keeps, none left over, and the images' own forwards."""
    one = job(artifact, masks, batch)
    device = lazy(one, slots_of(one), depth)
    stream = Stream(one, Metered(device, 0), images(), 7)
    assert device.sizes == [1], "setting up is one row, and no part of a measurement"
    settled = 0
    for count in (1, 2, 4):
        before = len(device.sizes)
        window = stream.measure(count)
        computed = device.sizes[before:]
        assert set(computed) == {batch}
        assert window.rows == sum(computed)
        assert device.unfinished == 0
        assert count <= window.images <= count + batch // (1 + masks)
        assert window.forwards == window.images * (1 + masks)
        settled += window.images
        assert window.forwards_per_s == window.rows / window.seconds
        assert window.images_per_s == pytest.approx(window.forwards_per_s / (1 + masks))
    assert device.most == depth
    assert (
        settled * (1 + masks) <= sum(device.sizes) - 1 <= (settled + batch // (1 + masks)) * (1 + masks) + depth * batch
    )
    stream.close()


def test_masks_drawn_for_nothing_are_a_cost_of_an_image(artifact) -> None:
    """`auto` has no number of masks to divide by: images a second are those that were settled in that time."""
    one = images().job(artifact, Measurement(masks="auto", max_masks=128), Execution(batch=8))
    device = lazy(one, slots_of(one))
    stream = Stream(one, Metered(device, 0), images(), 3)
    window = stream.measure(3)
    assert window.forwards == window.rows == sum(device.sizes) - 1
    assert window.images_per_s == pytest.approx(window.images / window.seconds)
    stream.close()


def test_a_measurement_cannot_be_faster_than_the_device(artifact) -> None:
    """Neither figure may profit from what is computed in advance: a row takes a millisecond, in the engine or alone."""

    def slow(x: Float32) -> Logits:
        time.sleep(0.001 * len(x))
        return model(x)

    spec, settings = FakeSpec(slow), BenchSettings(batch=(8,), masks=(23,), rounds=3, seconds=0.05)
    with open_spec(spec) as backend, warmed_up(artifact, settings, images(), [backend]) as ready:
        [found] = ready.measure()
    for spread in (found.raw_forwards_per_s, found.engine[0].engine_forwards_per_s):
        assert max(spread.rounds) <= 1000
    assert found.engine[0].images_per_s.median == pytest.approx(found.engine[0].engine_forwards_per_s.median / 24)
    shares = [
        a / b
        for a, b in zip(found.engine[0].engine_forwards_per_s.rounds, found.raw_forwards_per_s.rounds, strict=True)
    ]
    assert found.engine[0].engine_over_raw.rounds == pytest.approx(shares)


def test_slots_of_one_device_are_kept_apart(artifact) -> None:
    """The logits are those of the own image, whatever else is resident."""
    one = job(artifact, 5, 4)
    device = FakeBackend(model, one.method.perturbation, HostImages(4, SIZE))
    low, high = Metered(device, 0), Metered(device, 2)
    rows = clean_rows(one.method.perturbation, np.array([1]))
    low.put(1, np.full((3, SIZE, SIZE), 2.0, np.float32))
    high.put(1, np.full((3, SIZE, SIZE), 3.0, np.float32))
    assert low.submit(rows).wait()["a"][0, 0] == pytest.approx(2.0)
    assert high.submit(rows).wait()["a"][0, 0] == pytest.approx(3.0)
    with pytest.raises(BackendError, match="bound once"):
        low.bind(one.method.perturbation, 3)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_backend_alone_gets_clean_rows_of_one_batch(artifact, batch: int) -> None:
    one = job(artifact, 5, batch)
    device = lazy(one, RAW_SLOTS)
    seen: list[Rows] = []
    plain = device.backend.submit
    device.backend = replace_submit(device.backend, lambda rows: (seen.append(rows), plain(rows))[1])
    raw = Raw(Metered(device, 0), one.method.perturbation, batch, images())
    assert raw.measure(6) > 0
    assert device.sizes == [batch] * 6
    assert device.most == 3
    assert all((rows.grid == one.method.perturbation.clean).all() for rows in seen)


def replace_submit(backend: Backend, submit) -> Backend:
    class Watched:
        put = staticmethod(backend.put)

    watched = Watched()
    watched.submit = submit
    return watched


def test_rounds_go_over_all_configurations_forwards_and_backwards_in_turn(artifact) -> None:
    settings = BenchSettings(batch=(2, 4), masks=(3, 6), rounds=3, seconds=0.001)
    seen: list[tuple[int, str]] = []
    said: list[str] = []
    specs = [FakeSpec(model), FakeSpec(model, depth=3, name="other")]
    with ExitStack() as stack:
        backends = [stack.enter_context(open_spec(spec)) for spec in specs]
        ready = stack.enter_context(warmed_up(artifact, settings, images(), backends, said.append))
        assert ready.total == 3 * 4 * 3
        figures = ready.measure(lambda done, what: seen.append((done, what)))
    order = ["fake f32 batch 2", "fake f32 batch 4"]
    assert [done for done, _ in seen] == list(range(1, 37))
    names = [what for _, what in seen][::3]
    assert names[4:8] == names[:4][::-1] == names[8:][::-1]
    assert names[:2] == order
    assert [(one.backend, one.batch, [m.masks for m in one.engine]) for one in figures] == [
        ("fake", batch, [3, 6]) for batch in (2, 4, 2, 4)
    ]
    assert all(
        len(one.raw_forwards_per_s.rounds) == 3 and len(one.engine[1].engine_forwards_per_s.rounds) == 3
        for one in figures
    )
    assert len(said) == 4


def test_a_model_that_fails_ends_the_bench_with_its_name(artifact) -> None:
    calls = iter(range(1000))

    def fails(x: Float32) -> Logits:
        found = model(x)
        return {name: values * (np.nan if next(calls) > 40 else 1) for name, values in found.items()}

    settings = BenchSettings(batch=(4,), masks=(11,), seconds=0.001, rounds=20)
    with (
        open_spec(FakeSpec(fails)) as backend,
        warmed_up(artifact, settings, images(), [backend]) as ready,
        pytest.raises(BackendError, match=r"fake in f32 fails on .*not finite"),
    ):
        ready.measure()


def test_an_interrupted_bench_leaves_no_threads(artifact) -> None:
    import threading

    threads = threading.active_count()
    settings = BenchSettings(batch=(2,), masks=(3,), seconds=0.001)

    def interrupt(done: int, what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with (
        open_spec(FakeSpec(model)) as backend,
        pytest.raises(KeyboardInterrupt),
        warmed_up(artifact, settings, images(), [backend]) as ready,
    ):
        ready.measure(interrupt)
    deadline = time.monotonic() + 10
    while threading.active_count() > threads:
        assert time.monotonic() < deadline, "decoding threads are still there"
        time.sleep(0.01)
