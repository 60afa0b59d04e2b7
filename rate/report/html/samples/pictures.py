"""The pictures and regions of samples as the model received them, and the pictures that stood where pixels were hidden.

A run folder may come from an untrusted source, which also controls its run.json. Of the files that run.json names, only
local ones are read, and only if they are the evaluated set, by its digest, or the recorded pictures of a bank, by the
digest of their contents; so are files in roots that run.json names: a report makes no network access and shows no other
file of this machine. Files that the user names with ``data`` or ``roots`` are read from any place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from msgspec import structs
from PIL import Image

from rate.data.bank import Bank
from rate.data.digests import ContentTable
from rate.data.evaluation_set import EvaluationSet, read_evaluation_set
from rate.data.images.corrupt import corruption_function
from rate.data.images.prepare import prepare
from rate.engine.verdicts.fills import order_met
from rate.errors import ConfigError, DataError, SampleError, UsageError
from rate.kernels.region import sketch
from rate.reading import Reading
from rate.report.heads import HeadRun
from rate.runs.parts import contents_of
from rate.runs.run_document import RunDocument, data_of, roots_of
from rate.types import Bool, Float32, Prepared, Sample, UInt8


@dataclass(frozen=True, slots=True, eq=False)
class BankPictures:
    """The pictures of a bank in the order of run.json."""

    bank: Bank
    views: tuple[UInt8, ...]  # [h,w,3] each
    regions: Annotated[Float32, "f s s"]  # the sketch of each one's own region
    count: int  # the number that a sample meets

    def met(self, sample: Sample, region: Bool, most: int) -> list[UInt8]:
        """Return the first ``most`` pictures that a sample with ``region`` [h,w] met."""
        order = order_met(self.bank, self.regions, sample, region, self.count)
        return [self.views[number] for number in order[:most].tolist()]


def recorded_bank(
    run: RunDocument, samples: Mapping[str, Sample], decode: Callable[[Sample], Prepared], remote: bool
) -> BankPictures:
    """Read the pictures of the bank of ``run``.

    Args:
        run: a run by swaps.
        samples: the samples of its set by id.
        decode: gives the pixels and the region of a sample, as in the run.
        remote: whether pictures may be fetched.

    Raises:
        DataError: the pictures cannot be read, or are others; the message is why.
    """
    seed = run.measurement.get("seed")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise DataError(f"run.json has the seed {seed!r}")
    pictures, views, regions = [], [], []
    for name in run.bank.pictures:
        picture = samples.get(name) if run.rule.fill == "pictures" else _in_folder(run.rule.fill, name)
        if picture is None:
            raise DataError(f"there is no {name!r} among them")
        if "://" in f"{picture.image} {picture.mask}" and not remote:
            raise DataError(f"{name!r} is remote, and is fetched only where --data names its set")
        try:
            prepared = decode(picture)
        except (SampleError, UsageError) as error:
            raise DataError(str(error)) from error
        pictures.append(prepared.sample)
        views.append(prepared.picture.view)
        regions.append(sketch(prepared.region))
    bank = Bank(tuple(pictures), seed)
    if not pictures or bank.digest != run.identity.bank:
        raise DataError("they are not those of the run, by their digest")
    return BankPictures(bank, tuple(views), np.stack(regions), run.bank.met)


def _in_folder(folder: str, name: str) -> Sample | None:
    """Return a picture of a folder of fills; None if there is none of that name inside it."""
    place = PurePosixPath(name)
    path = Path(folder, *place.parts)
    inside = not place.is_absolute() and ".." not in place.parts and path.is_file()
    return Sample(name, "", str(path.resolve()), boxes=()) if inside else None


_NAMED = 3
Source = tuple[tuple[str, ...], str | None]
"""The possible places of the data, the likeliest first, and the split."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A sample in model pixels."""

    picture: Image.Image
    region: Bool  # [h,w]
    ignored: Bool | None  # pixels [h,w] of neither region nor rest
    boxed: bool  # whether the region is of boxes


@dataclass(slots=True)
class Pictures:
    """Reads the samples of a report. Unreadable and forbidden samples are left out, with one notice each."""

    data: str | None = None  # replaces the data that the runs name
    roots: tuple[str, ...] = ()  # replace the roots that the runs name
    _wanted: frozenset[str] = frozenset()
    _samples_by_source: dict[Source, dict[str, Sample]] = field(default_factory=dict)
    _views: dict[tuple[Source, str, str, str], View | None] = field(default_factory=dict)
    _banks: dict[Path, BankPictures | None] = field(default_factory=dict)
    _contents: dict[Path, ContentTable] = field(default_factory=dict)
    _notices: list[str] = field(default_factory=list)
    _missing: list[str] = field(default_factory=list)

    def look_for(self, identifiers: Iterable[str]) -> None:
        """Register the samples that will be requested; no others are kept."""
        self._wanted = frozenset(identifiers)

    def view(self, head: HeadRun, identifier: str) -> View | None:
        """Return the sample's picture and region; None if the data, the sample or its image is missing."""
        key = self.key(head, identifier)
        if key not in self._views:
            sample = self._samples(head).get(identifier)
            self._views[key] = None if sample is None else self._read(sample, head)
        return self._views[key]

    def met(self, head: HeadRun, identifier: str, most: int) -> list[UInt8]:
        """Return the first ``most`` other pictures [h,w,3] that a sample met in a run by swaps.

        There are none if the sample or the pictures cannot be read.
        """
        view, sample = self.view(head, identifier), self._samples(head).get(identifier)
        bank = None if sample is None else self._bank(head)
        return [] if view is None or sample is None or bank is None else bank.met(sample, view.region, most)

    def key(self, head: HeadRun, identifier: str) -> tuple[Source, str, str, str]:
        """Return a key that is equal for equal results of `view`."""
        return (self._source(head), repr(head.run.identity.geometry), repr(_corruption(head.run)), identifier)

    def notices(self) -> tuple[str, ...]:
        """Return one sentence for each thing that could not be read."""
        if not self._missing:
            return tuple(self._notices)
        named = "; ".join(self._missing[:_NAMED])
        more = f"; and {len(self._missing) - _NAMED} more" if len(self._missing) > _NAMED else ""
        return (*self._notices, f"shown without its picture: {named}{more}")

    def _source(self, head: HeadRun) -> Source:
        origin = head.run.origin
        places = data_of(origin, head.folder) if self.data is None else [self.data]
        return tuple(places), origin.split

    def _samples(self, head: HeadRun) -> dict[str, Sample]:
        source = self._source(head)
        if source not in self._samples_by_source:
            try:
                dataset = self._evaluated(head, *source)
                self._samples_by_source[source] = {sample.id: sample for sample in dataset if sample.id in self._wanted}
            except DataError as error:
                self._notices.append(
                    f"the pictures of {head.folder} are left out, its data cannot be used: {error}; "
                    "give --data MANIFEST to say where it is"
                )
                self._samples_by_source[source] = {}
        return self._samples_by_source[source]

    def _bank(self, head: HeadRun) -> BankPictures | None:
        """Return the pictures that stood where a pixel was hidden; None if they cannot be read, with a notice."""
        if head.folder not in self._banks:
            samples = self._samples(head)
            try:
                remote = self.data is not None
                self._banks[head.folder] = recorded_bank(head.run, samples, _decoder(head.run), remote)
            except DataError as error:
                self._notices.append(f"shown without swaps: the other pictures of {head.folder} are missing: {error}")
                self._banks[head.folder] = None
        return self._banks[head.folder]

    def _evaluated(self, head: HeadRun, places: Sequence[str], split: str | None) -> EvaluationSet:
        """Return the set in the first place that has it; a refusal names the place as the run wrote it."""
        refused = DataError("its run.json does not name them")
        for place in places:
            try:
                if self.data is None and "://" in place:
                    raise DataError(f"{place} is remote, and is fetched only where --data names it")
                reading = _reading(head.run, self.roots or roots_of(head.run.origin, head.folder))
                dataset = self._read_set(place, split, head.run.origin.limit, reading)
                self._compare(head, dataset)
            except DataError as error:
                refused = error
            else:
                return dataset
        raise refused

    def _read_set(self, place: str, split: str | None, limit: int | None, reading: Reading) -> EvaluationSet:
        pinned = self.data is not None  # nothing is asked of a storage that the user does not name
        try:
            return read_evaluation_set(place, split, limit, reading=reading, pinned=pinned)
        except ConfigError:
            if self.data is None:
                raise
            # The run's words about a table of pictures say nothing of a manifest.
            plain = replace(reading, columns=None, box_format=None, label_names=None)
            return read_evaluation_set(place, split, limit, reading=plain)

    def _compare(self, head: HeadRun, dataset: EvaluationSet) -> None:
        if dataset.digest == head.run.identity.data:
            return
        said = f"{dataset.data} is not what {head.folder} evaluated (other samples, labels or regions)"
        if self.data is None:
            if any("://" in sample.image for sample in dataset):
                raise DataError(f"{dataset.data} has remote images, and storages are asked only where --data names it")
            raise DataError(said)
        self._notices.append(f"{said}; pictures are matched by id")

    def _read(self, sample: Sample, head: HeadRun) -> View | None:
        try:
            if self.data is None and "://" in f"{sample.image} {sample.mask}":
                raise SampleError(f"{sample.id} is remote, and is fetched only where --data names its set")
            prepared = _decoder(head.run)(sample)
            if head.run.origin.reading.root and not (self.roots or self._is_evaluated(prepared.sample, head)):
                raise SampleError(f"{sample.image} is not the file of the run, by its digest; --root says where it is")
        except (SampleError, UsageError) as error:
            self._missing.append(str(error))
            return None
        return View(Image.fromarray(prepared.picture.view), prepared.region, prepared.ignored, sample.boxes is not None)

    def _is_evaluated(self, sample: Sample, head: HeadRun) -> bool:
        if head.folder not in self._contents:
            self._contents[head.folder] = ContentTable(contents_of(head.folder, head.run))
        return sample.content == self._contents[head.folder].content(sample.id)


def _reading(run: RunDocument, roots: Sequence[str]) -> Reading:
    """Return how the run read its set, with the roots where they are now.

    Raises:
        DataError: run.json says it in a form that cannot be.
    """
    try:
        return Reading(**structs.asdict(run.origin.reading) | {"root": tuple(roots)})
    except ConfigError as error:
        raise DataError(f"run.json says of the masks what cannot be: {error}") from error


def _decoder(run: RunDocument) -> Callable[[Sample], Prepared]:
    return partial(prepare, geometry=run.identity.geometry, alter=corruption_function(*_corruption(run)))


def _corruption(run: RunDocument) -> tuple[str | None, int]:
    return run.measurement.get("corrupt"), run.measurement.get("corrupt_seed", 0)
