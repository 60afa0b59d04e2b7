"""The samples that a run still has to evaluate, and a check that its stored samples are unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rate.data.digests import ContentTable, fingerprint
from rate.data.images.prepare import read_content
from rate.errors import SampleError, SetChanged
from rate.types import Sample, Samples

MARGIN_NS = 2_000_000_000
"""The tolerance for coarse file clocks, which may differ from the clock of the machine that started the run."""

REMOTE_CHECKS = 32
"""The number of stored samples with remote images that are read again; each costs a request."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """The samples of a set that a run has not stored yet."""

    samples: Samples  # with the stamps of their files
    done: ContentTable  # the stored samples
    started_ns: int  # start of the run

    def __len__(self) -> int:
        return max(len(self.samples) - len(self.done), 0)

    def __iter__(self) -> Iterator[Sample]:
        """Yield them; files of stored samples that changed since the run began are read again.

        Raises:
            SetChanged: a file differs from the one of which the stored row was computed.
        """
        every = max(1, len(self.done) // REMOTE_CHECKS)
        for sample in self.samples:
            if sample.id not in self.done:
                yield sample
            elif _is_doubtful(sample, self.started_ns - MARGIN_NS, every):
                _check_content(sample, self.done.content(sample.id))


def check_planned(planned: int, stored: int, out: Path) -> None:
    """Check that every sample of a set has its rows, failed samples included, before a run counts as done.

    Raises:
        SetChanged: some samples have no rows.
    """
    if stored < planned:
        raise SetChanged(
            f"{out} holds {stored} of the {planned} samples that were planned, and the set gave no more: it has "
            "changed since it was first read. Run the same command again to evaluate the rest"
        )


def _is_doubtful(sample: Sample, since_ns: int, every: int) -> bool:
    stamps = [stamp for stamp in (sample.image_stamp, sample.mask_stamp) if stamp is not None]
    # The versions of remote objects are in the digest of the set, and so in the key of the run.
    if any(not stamp.version and max(stamp.modified_ns, stamp.changed_ns) > since_ns for stamp in stamps):
        return True
    return "://" in sample.image and not stamps and fingerprint(sample.id) % every == 0


def _check_content(sample: Sample, stored: bytes | None) -> None:
    if stored is None:  # the sample failed, so its row is not computed from the file
        return
    try:
        current = read_content(sample)
    except SampleError:  # the file cannot be read any more; the row remains valid
        return
    if current != stored:
        files = sample.image if sample.mask is None else f"{sample.image} and {sample.mask}"
        raise SetChanged(
            f"the run holds a result of sample {sample.id!r} from other bytes than {files} gives now (digest "
            f"{stored.hex()} then, {current.hex()} now): the set was changed after the run began. Put back what was "
            "there, or choose another --out to evaluate the set as it is now"
        )
