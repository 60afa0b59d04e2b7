"""Deterministic damage to bytes: what disks, transfers, editors and attackers do to files."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

NUMBERS = (b"-1", b"0", b"4294967296", b"99999999999999999999", b"1e999", b"NaN", b"-0.0", b"9" * 5000)
TEXTS = (b"\0", b"..", b"../../x", b"/etc/passwd", b"\xff\xfe", b"\x1b[2J", b'"', b"\n", b"[" * 3000, b"{}", b"null")


def mutated(data: bytes, seed: int) -> bytes:
    """One to three damages; the same ones for the same seed."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(DAMAGES)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """One, four or sixteen bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 16)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, rng: random.Random) -> bytes:
    """Some bytes become one value."""
    at, length = _place(data, rng), rng.choice((1, 2, 4, 8, 64))
    return data[:at] + bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * min(length, len(data) - at) + data[at + length :]


def cut_off(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: _place(data, rng)]


def left_out(data: bytes, rng: random.Random) -> bytes:
    """Some bytes in the middle are missing."""
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 3, 17, 512)) :]


def repeated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes come several times."""
    at, length = _place(data, rng), rng.choice((1, 16, 512))
    return data[:at] + data[at : at + length] * rng.choice((2, 50)) + data[at + length :]


def inserted(data: bytes, rng: random.Random) -> bytes:
    """Foreign bytes in the middle."""
    at = _place(data, rng)
    return data[:at] + rng.choice((*TEXTS, rng.randbytes(9))) + data[at:]


def renumbered(data: bytes, rng: random.Random) -> bytes:
    """A decimal number becomes another."""
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return flipped(data, rng)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(NUMBERS) + data[one.end() :]


def rekeyed(data: bytes, rng: random.Random) -> bytes:
    """A word in quotes becomes another value."""
    found = list(re.finditer(rb'"[^"]*"', data))
    if not found:
        return inserted(data, rng)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice((b"7", b"null", b"[]", b"{}", b'""', b"true")) + data[one.end() :]


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flipped,
    overwritten,
    cut_off,
    left_out,
    repeated,
    inserted,
    renumbered,
    rekeyed,
)
