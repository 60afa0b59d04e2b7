"""Pictures of pages of `rate report` and `rate history` for the documentation: light, dark, and as on a telephone.

    python -m benchmarks.screenshots report.html grid.html history.html --out docs

writes docs/report-light.png, docs/report-dark.png, docs/report-phone.png and so on, as small as a palette makes them.
It needs Chromium; nothing is fetched.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1280, 1370
PHONE = (390, 844)
LEAST_WIDTH = 500  # of a window
COLOURS = 128


def main() -> None:
    """Take every picture of every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--height", type=int, default=HEIGHT)
    parser.add_argument("--forms", nargs="+", choices=("light", "dark", "phone"), default=("light", "dark", "phone"))
    asked = parser.parse_args()
    for page in asked.pages:
        for form in asked.forms:
            picture = asked.out / f"{page.stem}-{form}.png"
            size = PHONE if form == "phone" else (asked.width, asked.height)
            screenshot(page, picture, "dark" if form == "dark" else "light", size)
            print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def screenshot(report: Path, picture: Path, theme: str, size: tuple[int, int]) -> None:
    """One theme of the top of a page as a palette PNG; a frame holds it, which may be narrower than a window."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("no chromium on this machine: install it (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        page, frame, raw = Path(folder, "page.html"), Path(folder, "frame.html"), Path(folder, "raw.png")
        text = report.read_text(encoding="utf-8")
        page.write_text(text.replace("<html ", f'<html data-theme="{theme}" ', 1), encoding="utf-8")
        inside = f'<iframe src="page.html" width="{size[0]}" height="{size[1]}" style="border:0"></iframe>'
        frame.write_text(f'<!doctype html><body style="margin:0">{inside}', encoding="utf-8")
        window = f"{max(size[0], LEAST_WIDTH)},{size[1]}"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={raw}"]
        options += [f"--window-size={window}", "--virtual-time-budget=4000", f"--user-data-dir={folder}/p"]
        subprocess.run([chromium, *options, frame.as_uri()], check=True, capture_output=True)
        with Image.open(raw) as image:
            small = image.convert("RGB").crop((0, 0, *size)).quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(picture, optimize=True)


if __name__ == "__main__":
    main()
