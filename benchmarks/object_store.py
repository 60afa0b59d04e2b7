"""Images a second from a storage that takes 50 ms for a request, what it costs to fix the versions of a set, and what
it costs to send a part of a run after so many others.

The storage is a small server of S3's protocol in a process of its own, on loopback. Images are read, decoded and cut to
224 pixels, as a run does it, with so many reads at once; the versions of a set come from listings.

    python -m benchmarks.object_store [--images 400] [--objects 100000] [--delay 0.05] [--parts 1000 20000]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import multiprocessing
import os
import re
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

import numpy as np
from msgspec.structs import replace
from PIL import Image

from benchmarks import record
from benchmarks.sizes import tables
from rate.data.evaluation_set import read_evaluation_set
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.data.storage.limits import REMOTE_READS
from rate.data.storage.listing import PAGE, Listing
from rate.engine.prefetch import Prefetch
from rate.runs.part_list import PartLog
from rate.runs.parts import PART_ROWS, write_part
from rate.runs.remote import publish, run_for_writing
from rate.types import Prepared, Sample

GEOMETRY = Geometry(size=224, resize=224, mean=(0.5,) * 3, std=(0.25,) * 3)
READS = (1, 4, 16, REMOTE_READS, 64)
DIFFERENT = 16  # images; the others repeat them
PUSHES = 100  # parts that are sent and timed


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds a request")
    parser.add_argument("--parts", type=int, nargs="+", default=(1_000, 20_000))
    parser.add_argument("--measured", nargs="+", default=("images", "versions", "parts"), help="the rest is kept")
    asked = parser.parse_args()
    path = record.RESULTS / "object_store.json"
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    port, counter = start(asked.delay)
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    if "images" in asked.measured:
        kinds = {"s3": "s3://b", "http": f"http://127.0.0.1:{port}/b"}
        with tempfile.TemporaryDirectory() as folder:
            read = {kind: images(Path(folder), asked.images, root, counter) for kind, root in kinds.items()}
        figures |= {"delay_s": asked.delay, "images": asked.images, "images_per_s": read}
    if "versions" in asked.measured:
        figures |= {"objects": asked.objects, "versions": versions(asked.objects, counter)}
    if "parts" in asked.measured:
        port, counter = start(0.0)
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        figures |= {"part_sent_after": {str(parts): pushes(parts) for parts in asked.parts}}
    record.write("object_store", figures)


def images(folder: Path, count: int, root: str, counter: Connection) -> dict[str, float]:
    """Read a set; return the images a second for each number of reads at once, and the CPU time and requests of one."""
    manifest = folder / "set.csv"
    rows = (f"s{k},{root}/{k:09d}.jpg,a,0,0,100,100" for k in range(count))
    manifest.write_text("id,image,label,x0,y0,x1,y1\n" + "\n".join(rows) + "\n")
    samples = list(read_evaluation_set(str(manifest)))

    def read(sample: Sample) -> Prepared:
        return prepare(sample, GEOMETRY)

    figures = {}
    for reads in READS:
        requests(counter)
        used = samples if reads > 1 else samples[: count // 10]
        began, cpu = time.perf_counter(), time.process_time()
        with Prefetch(used, read, 4, ahead=64, io=reads) as source:
            for _ in used:
                assert isinstance(source.next(), Prepared)
        figures[str(reads)] = round(len(used) / (time.perf_counter() - began), 1)
        figures["cpu_ms_an_image"] = round(1000 * (time.process_time() - cpu) / len(used), 1)
        figures["requests_an_image"] = requests(counter) / len(used)
    return figures


def versions(count: int, counter: Connection) -> dict[str, float]:
    """List a set; return the time, the CPU time and the requests."""
    requests(counter)
    began, cpu = time.perf_counter(), time.process_time()
    stamps = Listing().stamps(f"s3://b/{k:09d}.jpg" for k in range(count))
    assert len(stamps) == count
    taken = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    return {name: round(value, 2) for name, value in taken.items()} | {"requests": requests(counter)}


def pushes(parts: int) -> dict[str, float]:
    """Make a run of so many parts; return the milliseconds, of CPU time too, of sending one more without delay."""
    row = tables(PART_ROWS * (parts + PUSHES), "swap", 0, (0, 1))
    times, cpu = [], []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["RATE_CACHE"] = cache
        with run_for_writing(f"s3://b/run-{parts}") as folder:
            for name in ("samples", "maps"):
                (folder / name).mkdir()
            first = write_part(folder, "0" * 64, next(row))
            content = (folder / "samples" / first.name).read_bytes()
            (folder / "samples" / first.name).unlink()
            others = [replace(first, name=f"part-{number:016x}.parquet") for number in range(parts + PUSHES)]
            log = PartLog(folder)
            log.replace(others[:parts])
            for part in others[:parts]:
                (folder / "samples" / part.name).write_bytes(content)
            publish(folder)
            for part in others[parts:]:
                (folder / "samples" / part.name).write_bytes(content)
                log.append(part)
                began, used = time.perf_counter(), time.process_time()
                publish(folder, part.name)
                times.append(time.perf_counter() - began)
                cpu.append(time.process_time() - used)
    return {"ms": round(1000 * median(times), 1), "cpu_ms": round(1000 * median(cpu), 1)}


def requests(counter: Connection) -> int:
    """Return the number of requests since the last call."""
    counter.send(None)
    count: int = counter.recv()
    return count


def start(delay: float) -> tuple[int, Connection]:
    """Start the server; return its port, and the connection by which it tells how many requests it had."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, delay), daemon=True).start()
    port: int = ours.recv()
    return port, ours


def serve(counter: Connection, delay: float) -> None:
    """Serve objects whose keys are numbers, and listings of such keys in order."""
    contents = [picture(k) for k in range(DIFFERENT)]
    written = set[bytes]()  # keys
    etags = [hashlib.md5(content).hexdigest() for content in contents]
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while head := await reader.readuntil(b"\r\n\r\n"):
            asked += 1
            method, target = head.split(b" ", 2)[:2]
            url = urlsplit(target.decode())
            if method == b"PUT":
                await take(head, reader, writer, is_taken=target in written)
                written.add(target)
                continue
            await asyncio.sleep(delay)
            name, extra = url.path.rpartition("/")[2], ""
            if name.endswith(".jpg"):
                number = int(name.partition(".")[0]) % DIFFERENT
                body, extra = contents[number], f'ETag: "{etags[number]}"\r\n'
            else:
                body = listing(parse_qs(url.query), contents, etags)
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode())
            writer.write(body if method != b"HEAD" else b"")

    async def run() -> None:
        nonlocal asked

        async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await answer(reader, writer)
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(quietly, "127.0.0.1", 0)
        counter.send(server.sockets[0].getsockname()[1])
        while True:
            await asyncio.sleep(0.01)
            if counter.poll():
                counter.recv()
                counter.send(asked)
                asked = 0

    with suppress(EOFError):  # the benchmark has ended
        asyncio.run(run())


def listing(query: dict[str, list[str]], contents: list[bytes], etags: list[str]) -> bytes:
    """Make a page of the listing of all objects."""
    if "start-after" not in query:  # a run is listed, which is new
        return b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    after, limit = query["start-after"][0], int(query.get("max-keys", [str(PAGE)])[0])
    first = int(after.partition(".")[0]) + after.endswith(".jpg")
    rows = "".join(
        f"<Contents><Key>{k:09d}.jpg</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etags[k % DIFFERENT]}&quot;</ETag><Size>{len(contents[k % DIFFERENT])}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for k in range(first, first + limit)
    )
    return f"<ListBucketResult><IsTruncated>true</IsTruncated>{rows}</ListBucketResult>".encode()


async def take(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_taken: bool) -> None:
    """Take an object, of which nothing is kept; one that must be new is refused where its key ``is_taken``."""
    if b"100-continue" in head.lower():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    await reader.readexactly(int(length[1]) if length else 0)
    refused = is_taken and b"if-none-match" in head.lower()
    writer.write(b"HTTP/1.1 412 No\r\n" if refused else b'HTTP/1.1 200 OK\r\nETag: "e"\r\n')
    writer.write(b"Content-Length: 0\r\n\r\n")


def picture(number: int) -> bytes:
    """Make a JPEG of about 50 kB and 500 x 375 pixels."""
    coarse = np.random.default_rng(number).integers(0, 256, (94, 125, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


if __name__ == "__main__":
    main()
