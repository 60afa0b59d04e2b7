"""Pictures of a report for the documentation: light and dark, 1280 pixels wide, as small as a palette makes them.

    python -m benchmarks.screenshots report.html docs

writes docs/report-light.png and docs/report-dark.png. It needs Chromium; nothing is fetched.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1280, 1370
COLOURS = 128


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs"))
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--height", type=int, default=HEIGHT)
    asked = parser.parse_args()
    for theme in ("light", "dark"):
        picture = asked.out / f"report-{theme}.png"
        screenshot(asked.report, picture, theme, (asked.width, asked.height))
        print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def screenshot(report: Path, picture: Path, theme: str, size: tuple[int, int]) -> None:
    """One theme of the top of a report as a palette PNG."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("no chromium on this machine: install it (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        page, raw = Path(folder, "page.html"), Path(folder, "raw.png")
        text = report.read_text(encoding="utf-8")
        page.write_text(text.replace("<html ", f'<html data-theme="{theme}" ', 1), encoding="utf-8")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={raw}"]
        options += [f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=4000", f"--user-data-dir={folder}/p"]
        subprocess.run([chromium, *options, page.as_uri()], check=True, capture_output=True)
        with Image.open(raw) as image:
            small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(picture, optimize=True)


if __name__ == "__main__":
    main()
