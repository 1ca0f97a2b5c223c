"""Pages as a browser shows them, as small PNG files."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from terminal import CommandError, program

LARGEST_BYTES = 300_000

_PATIENCE_MS = 60_000

# How MLflow remembers, in a reader's browser, that its assistant was closed and its menu for chat bots put aside.
_MLFLOW_AS_READ = """
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
"""


@contextlib.contextmanager
def browser_page(width_px: int, height_px: int, *, dark: bool = False, scale: float = 1.0) -> Iterator[Page]:
    """Opens an empty page in Debian's Chromium.

    Args:
        width_px: of the window, in CSS pixels.
        height_px: of the window.
        dark: whether the reader prefers dark pages.
        scale: device pixels of a CSS pixel.

    Raises:
        CommandError: if there is no Chromium.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise CommandError("chromium: not found; install it (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(
                viewport={"width": width_px, "height": height_px},
                device_scale_factor=scale,
                color_scheme="dark" if dark else "light",
            )
            page.set_default_timeout(_PATIENCE_MS)
            page.add_init_script(f"try {{{_MLFLOW_AS_READ}}} catch (error) {{}}")  # blank pages have no memory
            yield page
        finally:
            browser.close()


@contextlib.contextmanager
def mlflow_ui(study: str, folder: Path) -> Iterator[str]:
    """Runs `tune ui STUDY` and yields the address of the study's comparison.

    Raises:
        CommandError: if it ends without printing one.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = f"tune ui {study} --port {port}"
    server = subprocess.Popen(program(command), cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101
        link = next((found[0] for line in server.stdout if (found := re.search(r"http://\S+#\S+", line))), None)
        if link is None:
            raise CommandError(f"{command}: ended with {server.wait()} and printed no address of the comparison.")
        yield link
    finally:
        server.terminate()
        server.wait()


def save(page: Page, file: Path, *, height_px: int | None = None) -> None:
    """Writes what the page shows.

    Args:
        page: to be photographed.
        file: PNG to be written, of at most `LARGEST_BYTES`.
        height_px: of the picture, from the window's upper edge; all of the window if None.
    """
    size = page.viewport_size
    clip = {"x": 0, "y": 0, "width": size["width"], "height": height_px} if height_px and size else None
    save_small(page.screenshot(clip=clip), file)  # type: ignore[arg-type]


def save_small(png: bytes, file: Path) -> None:
    """Writes a PNG with as many colours as keep it small, in half the size if none do."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for shrink in (1, 2):
        smaller = picture.reduce(shrink) if shrink > 1 else picture
        for colours in (256, 128, 64):
            packed = io.BytesIO()
            smaller.quantize(colours, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
            if packed.tell() <= LARGEST_BYTES:
                file.write_bytes(packed.getvalue())
                return
    raise CommandError(f"{file.name}: takes {packed.tell():,} bytes, expected at most {LARGEST_BYTES:,}.")
