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
from rate.engine.choose_backend import Say, open_backend
from rate.engine.job import Job, check_labels, choose_head
from rate.engine.judging.judge import Ask, Judge, check_shape
from rate.engine.judging.predictors import Forward, Table
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
    predictions: Table | Artifact = field(default_factory=lambda: Table({}, ""))  # what says what is predicted

    def identity(self, backend: str, precision: str) -> Json:
        """See `Job`."""
        given = {} if self.maps is None else {"maps": self.maps}
        return Job.identity(self, backend, precision) | given


def judged_job(
    maps: GivenMaps | Ask,
    data: str,
    split: str | None,
    judging: Judging,
    execution: Execution,
    reading: Reading,
    *,
    artifact: Artifact | None,
    predictions: Path | None,
    head: str | None,
) -> JudgedJob:
    """Read the samples and their maps once, and check that they belong together.

    Args:
        maps: the maps.
        data: the set, in a form of `rate.data.open_data.open_rows`.
        split: None = all.
        judging: what maps cover, and when they are valid.
        execution: its limit is used.
        reading: how the set is read.
        artifact: what predicts; None = predictions are given.
        predictions: their table; None = ``data``, or the artifact predicts.
        head: the head of the artifact that the maps explain, None = the only one; or the name of the result.

    Raises:
        DataError: the data or the predictions cannot be used, no sample has a map, or most of the first maps cannot
            cover their images.
        ConfigError: settings exclude each other.
        UsageError: the artifact has no such head, or several and none is named.
    """
    geometry, crop = geometry_of(judging, artifact)
    bounds_under(judging.blur, geometry.size)
    predicting = _predicting(artifact, predictions, data)
    reading = recorded(data, reading)
    chosen = read_evaluation_set(data, split, execution.limit, reading=reading)
    check_first_masks(chosen)
    if isinstance(predicting, Table):
        own, weights = predicting.head(head or USUAL_NAME, chosen.labels), predicting.digest()
        place = {"artifact": None, "predictions": predicting.place}
    else:
        own, weights, place = choose_head(predicting, head), predicting.digest, {"artifact": predicting.named}
    said = check_labels(chosen.labels, (own,), data)
    digest = None
    if isinstance(maps, GivenMaps):
        digest, about = maps.digest(chosen)
        said += about
    origin: Json = {"data": data, "split": split, "limit": execution.limit, "shard": None}
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
        predictions=predicting,
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
    if isinstance(job.predictions, Table):
        yield Judge(maps, job.predictions, job.crop)
        return
    with open_backend(job.predictions, job.execution.in_one_process, "pixels", say) as backend:
        yield Judge(maps, Forward(backend, job), job.crop)


def _predicting(artifact: Artifact | None, predictions: Path | None, data: str) -> Table | Artifact:
    if artifact is not None and predictions is not None:
        raise ConfigError(f"--predictions {predictions} and --artifact {artifact.named} both predict; leave one out")
    if artifact is not None:
        artifact.refuse_questions("judge", "give its predictions with --predictions FILE, or as a column of the set")
        return artifact
    if predictions is None and not Path(data).is_file():
        raise DataError(f"{data} is no table with a prediction for each image; {CURE}")
    table = Path(data) if predictions is None else predictions
    return Table(read_predictions(table), str(table))


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
