"""What samples are known by: sets of ids, and digests of sets."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rate.data.digests import IdSet, SetDigest, fingerprint, sample_digest
from rate.data.storage.location import Folder
from rate.types import Sample


@given(st.sets(st.text(max_size=12)), st.sets(st.text(max_size=12)))
def test_an_id_set_holds_what_it_was_given_and_nothing_else(held: set[str], others: set[str]) -> None:
    found = IdSet(held)
    assert len(found) == len(held)
    assert all(one in found for one in held)
    assert [one for one in sorted(others) if one in found] == sorted(others & held)


def test_fingerprints_do_not_depend_on_the_process() -> None:
    assert fingerprint("a/b.png") == 6081340755068888190


@given(st.randoms(use_true_random=False))
def test_a_set_digest_knows_the_samples_and_not_their_order(chance: random.Random) -> None:
    samples = [Sample(f"s{k}", "x", f"/set/{k}.png", boxes=()) for k in range(6)]

    def digest(chosen: list[Sample]) -> str:
        found, folder = SetDigest(), Folder(Path("/set"))
        for sample in chosen:
            found.add(sample_digest(sample, folder))
        return found.hexdigest()

    shuffled = samples[:]
    chance.shuffle(shuffled)
    assert digest(shuffled) == digest(samples)
    assert digest(samples[1:]) != digest(samples)
    assert digest([*samples[1:], samples[1]]) != digest(samples)


def test_a_set_whose_urls_were_signed_again_is_the_same_set() -> None:
    def digest(*images: str) -> str:
        found = SetDigest()
        for number, image in enumerate(images):
            found.add(sample_digest(Sample(f"s{number}", "x", image, mask=f"{image}&part=mask"), Folder(Path("/set"))))
        return found.hexdigest()

    signed = [
        f"{place}?X-Amz-Date={day}&X-Amz-Signature=a{day}"
        for day in (1, 2)
        for place in ("s3://b/a", "tar:0+9:s3://b/t")
    ]
    assert digest(*signed[:2]) == digest(*signed[2:])
    assert digest("s3://me:one@b/a") == digest("s3://me:two@b/a")
    assert digest("s3://b/a?versionId=1") != digest("s3://b/a?versionId=2")
    assert digest("/set/a?sig=1.png") != digest("/set/a?sig=2.png")  # a file's name is no URL
