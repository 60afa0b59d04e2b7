"""The job of maps that another tool made: its samples, checked against the maps and the predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rate.artifacts.artifact import Artifact
from rate.data.evaluation_set import EvaluationSet, read_evaluation_set
from rate.data.given_maps import GivenMaps, MapShape
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import check_first_masks
from rate.data.mask_table import recorded
from rate.data.predictions import CURE, read_predictions
from rate.data.set_parts import Shard
from rate.engine.choose_backend import Say, open_backend
from rate.engine.job import Job
from rate.engine.judging.judge import Ask, Judge, check_shape
from rate.engine.judging.predictors import Forward, PredictionTable
from rate.engine.make_job import check_labels, choose_head
from rate.errors import ConfigError, DataError, SampleError
from rate.execution import Execution
from rate.judging import CENTER, SIZE, SQUASH, WHOLE, Judging
from rate.kernels.blur import bounds_under
from rate.reading import Reading
from rate.types import Json

FIRST = 8
"""The number of samples whose maps are looked at before a run."""

USUAL_NAME = "maps"
"""The name of the result where no artifact has a head."""


@dataclass(frozen=True, slots=True)
class JudgedJob(Job):
    """A job of maps that were given."""

    maps: str | None = None  # digest of the maps; None = a function makes them
    crop: str = WHOLE  # what a map covers
    predictions: PredictionTable | Artifact = field(
        default_factory=lambda: PredictionTable({}, "")
    )  # what says what is predicted

    def identity(self, backend: str, precision: str) -> Json:
        """See `Job`."""
        given = {} if self.maps is None else {"maps": self.maps}
        return Job.identity(self, backend, precision) | given


@dataclass(frozen=True, slots=True)
class Predicting:
    """What says what is predicted: an artifact, a table, or else the set itself."""

    artifact: Artifact | None = None
    table: Path | None = None
    head: str | None = None  # the artifact's head that the maps explain, None = the only one; or the result's name

    def source(self, data: str) -> PredictionTable | Artifact:
        """Return the artifact, or read the predictions.

        Raises:
            DataError: there are none.
            ConfigError: both predict.
        """
        if self.artifact is not None and self.table is not None:
            raise ConfigError(
                f"--predictions {self.table} and --artifact {self.artifact.named} both predict; leave one out"
            )
        if self.artifact is not None:
            cure = "give its predictions with --predictions FILE, or as a column of the set"
            self.artifact.refuse_questions("judge", cure)
            return self.artifact
        if self.table is None and not Path(data).is_file():
            raise DataError(f"{data} is no table with a prediction for each image; {CURE}")
        table = Path(data) if self.table is None else self.table
        return PredictionTable(read_predictions(table), str(table))


def judged_job(
    maps: GivenMaps | Ask,
    data: str,
    split: str | None,
    judging: Judging,
    execution: Execution,
    reading: Reading,
    predicting: Predicting,
) -> JudgedJob:
    """Read the samples and their maps once, and check that they belong together.

    Args:
        maps: the maps.
        data: the set, in a form of `rate.data.open_data.open_rows`.
        split: None = all.
        judging: what maps cover, and when they are valid.
        execution: its limit and its shard are used.
        reading: how the set is read.
        predicting: what says what is predicted.

    Raises:
        DataError: the data or the predictions cannot be used, no sample has a map, or most of the first maps cannot
            cover their images.
        ConfigError: settings exclude each other.
        UsageError: the artifact has no such head, or several and none is named.
    """
    if execution.runner != "local" or execution.workers > 1:
        raise ConfigError("maps are judged in one process; leave --workers and --runner out, or use --shard")
    geometry, crop = geometry_of(judging, predicting.artifact)
    bounds_under(judging.blur, geometry.size)
    predictions = predicting.source(data)
    reading = recorded(data, reading)
    whole = chosen = read_evaluation_set(data, split, execution.limit, reading=reading)
    if (part := Shard.parse(execution.shard)) != Shard():
        chosen = read_evaluation_set(data, split, execution.limit, part, reading=reading)
    check_first_masks(chosen)
    if isinstance(predictions, PredictionTable):
        own, weights = predictions.head(predicting.head or USUAL_NAME, chosen.labels), predictions.digest()
        place = {"artifact": None, "predictions": predictions.place}
    else:
        own, weights = choose_head(predictions, predicting.head), predictions.digest
        place = {"artifact": predictions.named}
    said = check_labels(chosen.labels, (own,), data)
    digest = None
    if isinstance(maps, GivenMaps):
        digest, about = maps.digest(whole)  # that of every shard
        said += about
    origin: Json = {"data": data, "split": split, "limit": execution.limit, "shard": execution.shard}
    origin |= place | {"maps": maps.name if isinstance(maps, GivenMaps) else "a function"}
    job = JudgedJob(
        heads=(own,),
        geometry=geometry,
        samples=chosen,
        measurement=judging.measurement,
        execution=execution,
        weights=weights,
        data=chosen.digest,
        origin=origin | {"reading": reading.to_json()},
        available=chosen.available,
        notices=chosen.notices + said,
        ignoring=reading.mask_ignore is not None,
        maps=digest,
        crop=crop,
        predictions=predictions,
    )
    if isinstance(maps, GivenMaps):
        _check_first(maps, job, chosen)
    return job


@contextmanager
def open_judge(maps: GivenMaps | Ask, job: JudgedJob, say: Say = lambda _: None) -> Iterator[Judge]:
    """Open what predicts, and judge the maps beside it in this process.

    Raises:
        UsageError: no backend can run the artifact.
        ParityError: the named backend does not reproduce the source's logits.
        BackendError: the named backend cannot load the graph.
    """
    if isinstance(job.predictions, PredictionTable):
        yield Judge(maps, job.predictions, job.crop)
        return
    with open_backend(job.predictions, job.execution.in_one_process, "pixels", say) as backend:
        yield Judge(maps, Forward(backend, job), job.crop)


def geometry_of(judging: Judging, artifact: Artifact | None) -> tuple[Geometry, str]:
    """Return how images become what maps cover, and what that is.

    Raises:
        ConfigError: both the artifact and the settings say it.
    """
    given = {"crop": judging.crop, "size": judging.size, "resize": judging.resize}
    if artifact is not None:
        if said := [f"--{name}" for name, value in given.items() if value is not None]:
            raise ConfigError(f"{' and '.join(said)}: the artifact says what its maps cover; leave one of them out")
        return artifact.geometry, CENTER if artifact.geometry.crop == "center" else SQUASH
    size, crop = judging.size or SIZE, judging.crop or WHOLE
    cut = "center" if crop == CENTER else "squash"
    return Geometry(size, judging.resize or size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), cut), crop


def _check_first(maps: GivenMaps, job: JudgedJob, samples: EvaluationSet) -> None:
    """Refuse maps before a run if most of the first ones cannot cover their images; remote images are not fetched."""
    looked_at, wrong = 0, list[MapShape]()
    for sample in islice((one for one in samples if maps.name_of(one.id) and "://" not in one.image), FIRST):
        with suppress(SampleError):
            prepared = job.decode(sample)
            try:
                check_shape(maps.of_sample(sample.id), prepared, job.crop)
            except MapShape as error:
                wrong.append(error)
            looked_at += 1
    if 2 * len(wrong) > looked_at:
        raise DataError(f"{len(wrong)} of the first {looked_at} maps cannot be those of their images: {wrong[0]}")
