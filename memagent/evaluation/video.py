"""A video of a recording: what the environment shows, and beneath it step, return, context and the agent's surprise."""

from __future__ import annotations

import io
import shutil
import subprocess
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from memagent.evaluation.charting import GREEN
from memagent.evaluation.figures import BLUE, GREY, INK, VERMILION
from memagent.evaluation.recording import Recording
from memagent.files import replacing

WIDTH = 480  # pixels, as many as an even number of rows asks of a codec
LINE = 22  # pixels from one line of text to the next
MARGIN = 12
COLUMNS = 62  # characters in a line
FPS = 25
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
SHOWN_FOR = 40  # steps for which it is said that something has happened


def frames(seen: Recording) -> Iterator[Image.Image]:
    """The pictures of a recording in turn, all of one size; none where the environment showed nothing."""
    rows = max((len(_context_lines(condition)) for condition in seen.conditions), default=0)
    panel = 2 * MARGIN + (3 + rows) * LINE
    for t, picture in seen.frames.items():
        shown = Image.open(io.BytesIO(picture)).convert("RGB")
        height = round(shown.height * WIDTH / shown.width / 2) * 2
        made = Image.new("RGB", (WIDTH, height + panel + panel % 2), "white")
        made.paste(shown.resize((WIDTH, height)))
        _draw_panel(ImageDraw.Draw(made), seen, t, height + MARGIN)
        yield made


def write_video(folder: Path, seen: Recording) -> Path:
    """Write video.mp4; without ffmpeg, of the extra `video`, video.gif. Returns the file's path.

    Raises:
        ValueError: the recording has no frames.
        OSError: the file cannot be written.
    """
    pictures = frames(seen)
    if (first := next(pictures, None)) is None:
        raise ValueError("The environment cannot be rendered as pictures (rgb_array), so there is no video.")
    pictures = chain([first], pictures)
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        with replacing(path := folder / "video.gif") as file:
            next(pictures).save(
                file, "GIF", save_all=True, append_images=pictures, duration=1000 // FPS, loop=0
            )
        return path
    with replacing(path := folder / "video.mp4") as file:
        _encode(ffmpeg, first.size, pictures, file)
    return path


def find_ffmpeg() -> str | None:
    """The ffmpeg of imageio-ffmpeg, else the system's; None where there is neither."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return shutil.which("ffmpeg")


def _encode(ffmpeg: str, size: tuple[int, int], pictures: Iterable[Image.Image], file: BinaryIO) -> None:
    """Write pictures of one size, of even sides, as H.264.

    Raises:
        OSError: ffmpeg says why it cannot.
    """
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(FPS), "-i", "-"]
    made = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", file.name]
    command = [ffmpeg, "-y", "-loglevel", "error", *raw, *made]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        with suppress(BrokenPipeError):  # it has said why
            for picture in pictures:
                process.stdin.write(picture.tobytes())
            process.stdin.close()
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise OSError(f"{ffmpeg} failed ({said.splitlines()[-1] if said else process.returncode})")


def _context_lines(condition: Mapping[str, float]) -> list[str]:
    """The values of the drifting parameters, in as many lines as they need."""
    text = ", ".join(f"{name} {value:.3g}" for name, value in condition.items())
    return textwrap.wrap(f"context: {text}", COLUMNS) if text else []


def _draw_panel(draw: ImageDraw.ImageDraw, seen: Recording, t: int, top: int) -> None:
    """Step and return, what has happened, how surprised the agent is, the context."""
    font = ImageFont.load_default(14)
    draw.text((MARGIN, top), f"step {seen.first + t}    return {seen.returns[t]:.1f}", INK, font)
    since = {"the context changes": seen.changes, "the agent notices": seen.noticed}
    colours = dict(zip(since, (VERMILION, GREEN), strict=True))
    x = WIDTH - MARGIN
    for what, steps in reversed(since.items()):
        if any(0 <= t - step < SHOWN_FOR for step in steps):
            x -= int(draw.textlength(what, font))
            draw.text((x, top), what, colours[what], font)
            x -= MARGIN
    if seen.evidence is not None:
        _draw_surprise(draw, float(seen.evidence[t]), top + LINE, font)
    for k, line in enumerate(_context_lines(seen.conditions[t])):
        draw.text((MARGIN, top + (3 + k) * LINE - LINE // 2), line, INK, font)


def _draw_surprise(draw: ImageDraw.ImageDraw, evidence: float, top: int, font: Font) -> None:
    """A bar of the evidence of a change, and its threshold, 100 %, at two thirds of the way."""
    draw.text((MARGIN, top), f"evidence: {100 * evidence:.0f} % of the threshold", INK, font)
    left, right, y = WIDTH // 2, WIDTH - MARGIN, top + 4
    draw.rectangle((left, y, right, y + 10), outline=GREY)
    mark = left + (right - left) * 2 // 3
    end = left + int(min(evidence * 2 / 3, 1.0) * (right - left))
    if end > left:
        draw.rectangle((left, y, end, y + 10), fill=VERMILION if evidence >= 1.0 else BLUE)
    draw.line((mark, y - 3, mark, y + 13), fill=INK, width=2)
