"""Files made by hand to hurt: bombs, lies about sizes, devices, deep nesting, odd text."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from functools import cache

from PIL import Image

NAMES = (
    *(
        "../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "..",
        ".",
        "",
        " ",
        "\0",
        "a\0b",
    ),
    *("file:///etc/passwd", "http://127.0.0.1:9/x.png", "https://[::1", "ftp://127.0.0.1:9/x", "s3://nobody/x.png"),
    *("memory://x.png", "data:image/png;base64,AAAA", "zip://x.png::set.zip", "simplecache::file:///etc/passwd"),
    *(
        "::",
        "://",
        "x://y",
        "github://a:b@c/d",
        "~root/x.png",
        "$HOME/x.png",
        "%00",
        "x" * 5000,
        "a/" * 2000,
        "\udce9.png",
    ),
    *(
        "*.png",
        "{000..999999999}.tar",
        "[",
        "{",
        "set/{1..",
        "\x1b[2J.png",
        "a\nb.png",
        "::error::x",
        "-rf",
        "--out",
        "NUL",
    ),
    *(
        "\u202egnp.exe",
        "é.png",
        "😀.png",
        "0.png/",
        "./0.png",
        "set/../0.png",
        "0.png?x=1",
        "0.png#x",
        "C:\\x.png",
        "\\\\host\\x",
    ),
)
"""Where an image, a set or a folder is said to lie."""
LABELS = (
    *("", " ", "\0", "red\0", "null", "NaN", "1e999", "<script>alert(1)</script>", "=1+1", "@SUM(A1)", "::error::x"),
    *(
        "x" * 100_000,
        "\x1b[31m",
        "a\nb",
        'a"b',
        "a,b",
        "{}",
        "[]",
        "\u202e",
        "é" * 50,
        "😀",
        "\ud800",
        "red ",
        "RED",
        "%s%n",
        "{0}",
    ),
    *("{red}", "|", "`id`", "$(id)", "../red", "-1", "0", "true", "]]>", "&lt;", "\ufeffred", "\u0000\u0001\u0002"),
)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: int = 0, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG that says its size and holds so many black rows of it, well packed."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + width * (3 if colour == 2 else 1) * bits // 8)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(form: str, size: tuple[int, int] = (40, 40), mode: str = "RGB", **options: object) -> bytes:
    """A picture in some format."""
    stream = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(stream, form, **options)
    return stream.getvalue()


@cache
def pictures() -> list[bytes]:
    """Bombs, lies and formats that few images have."""
    frames = [Image.new("RGB", (40, 40), (k, k, k)) for k in range(200)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    text = io.BytesIO()
    Image.new("RGB", (40, 40)).save(text, "PNG")
    ztxt = chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9))
    bomb = text.getvalue()[:33] + ztxt + text.getvalue()[33:]
    return [
        *(
            b"",
            b"\0",
            b"GIF89a",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"RIFF\xff\xff\xff\xffWEBP",
            b"BM" + b"\xff" * 60,
        ),
        *(png(2**31 - 1, 2**31 - 1), png(0, 0), png(1, 1, 1), png(60_000, 60_000, 100), png(1, 1_000_000, 1_000_000)),
        *(png(13_000, 13_000, 13_000), png(12_000, 7_000, 7_000), png(40, 40, 20), png(40, 40, 4000)),
        *(png(8000, 8000, 8000, 16), png(30_000, 2000, 2000, 1, 0), animated.getvalue(), bomb),
        *(saved("TIFF"), saved("BMP"), saved("ICO"), saved("PPM"), saved("PCX"), saved("TGA"), saved("JPEG2000")),
        *(saved("JPEG", progressive=True), saved("JPEG", (6000, 6000), progressive=True), saved("JPEG", mode="CMYK")),
        *(saved("WEBP", lossless=True), saved("PNG", mode="P"), saved("PNG", mode="1"), saved("PNG", mode="I;16")),
        *(
            saved("PNG", mode="LA"),
            saved("TIFF", mode="F"),
            saved("EPS"),
            saved("PDF"),
            saved("PNG", (1, 1)),
            saved("PNG", (9000, 1)),
        ),
        *(
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM '/etc/passwd'>]>",
        ),
        *(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n{} loop\n",
            b"8BPS\0\1" + b"\0" * 20,
            b"II*\0\x08\0\0\0\xff\xff",
        ),
    ]


def documents() -> list[bytes]:
    """JSON, and TOML, that parsers fall over."""
    return [
        *(
            b"",
            b"\0",
            b"null",
            b"[]",
            b"{}",
            b"7",
            b'""',
            b"NaN",
            b"\xff\xfe{}",
            b"\xef\xbb\xbf{}",
            b"{" * 100_000,
            b"[" * 100_000,
        ),
        *(
            b"[" * 500 + b"]" * 500,
            b'{"a":' * 500 + b"1" + b"}" * 500,
            b'{"schema":1e999}',
            b"1" * 5001,
            b'{"schema": "\\ud800"}',
        ),
        *(
            b'{"schema":"rate.run/2"}',
            b'{"schema":"rate.summary/2"}',
            b'{"schema":"rate.artifact/4"}',
            b'{"schema":"rate.run/9"}',
        ),
        *(
            b'{"schema":"rate.checkpoint/2"}',
            b'{"a":1,"a":2}',
            b'{"schema":null}',
            b"[[check]]\n" * 2000,
            b"check = 1",
            b"[check]",
        ),
        *(b'[[check]]\nmetric = "pt"', b'[[check]]\nmetric = "pt"\nmin = nan', b'[[check]]\nmetric = "pt"\nmin = inf'),
        *(b"a = " + b"[" * 5000, b"a." * 5000 + b"b = 1", b"x" * 10_000_000, b'[[check]]\nmetric = "pt"\nmin = 1e400'),
    ]


def archives() -> list[bytes]:
    """Tar files with members that are no files, lie about their size, or climb."""

    def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as file:
            for info, data in members:
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return info

    about = (member("a.json"), json.dumps({"label": "red", "boxes": [[0, 0, 9, 9]]}).encode())
    kinds = (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        b"S",
        b"V",
    )
    lie = tarfile.TarInfo("a.png")
    lie.size = 2**40
    return [
        *(b"", b"\0" * 1024, b"\0" * 10_240, b"x" * 512, b"\x1f\x8b" + b"\0" * 600, b"PK\3\4" + b"\0" * 600),
        *(
            tar((member(name), b"x"), about)
            for name in ("../a.png", "/a.png", "a/../../b.png", "a" * 3000, "\udce9.png", ".png")
        ),
        *(tar((member("a.png", kind, "/etc/passwd"), b""), about) for kind in kinds),
        *(tar((member("a.png"), picture), about) for picture in pictures()[7:14]),
        *(tar((member("a.png"), png(40, 40, 40)), (member("a.json"), text)) for text in documents()[:16]),
        lie.tobuf(tarfile.GNU_FORMAT) + b"x" * 512,
        lie.tobuf(tarfile.PAX_FORMAT) + b"x" * 512,
        tar(*((member(f"{k}.cls"), b"1") for k in range(3000))),
        tar(about, about, (member("a.png"), png(40, 40, 40)), (member("a.png"), png(40, 40, 40))),
    ]
