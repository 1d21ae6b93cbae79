"""The video of a recording: its pictures, what is written under them, and the file with ffmpeg and without."""

import subprocess
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from evaluation.recordings import CHANGE, NOTICED, made_up
from PIL import Image

import evaluate
from memagent.evaluation import video
from memagent.evaluation.video import LINE, WIDTH, find_ffmpeg, frames, write_video
from memagent.run_config import RunConfig
from memagent.runs import RunError

HEIGHT = 320  # of the pictures, 40 × 60, made as wide as the video


def colours(picture: Image.Image, top: int, bottom: int) -> set[str]:
    """The colours of a video's rows under its picture."""
    rows = np.asarray(picture)[HEIGHT + top : HEIGHT + bottom].reshape(-1, 3)
    return {f"#{r:02X}{g:02X}{b:02X}" for r, g, b in np.unique(rows, axis=0)}


def test_a_picture_shows_what_was_seen_and_beneath_it_what_was_believed() -> None:
    seen = made_up()
    made = dict(zip(seen.frames, frames(seen), strict=True))
    assert len(made) == 20 and {picture.size for picture in made.values()} == {made[0].size}
    assert made[0].width == WIDTH and made[0].height % 2 == 0
    assert np.asarray(made[20])[100, 100].tolist() == [6 * 20] * 3
    first_line = {t: colours(picture, 0, video.MARGIN + LINE) for t, picture in made.items()}
    assert [t for t in made if video.VERMILION in first_line[t]] == list(range(CHANGE, 40, 2))
    assert [t for t in made if video.GREEN in first_line[t]] == list(range(NOTICED, 40, 2))
    surprise = {
        t: colours(picture, video.MARGIN + LINE, video.MARGIN + 2 * LINE) for t, picture in made.items()
    }
    assert video.BLUE not in surprise[CHANGE] and video.BLUE in surprise[CHANGE + 4]  # 0.8
    assert video.VERMILION in surprise[NOTICED] and video.VERMILION not in surprise[CHANGE + 4]


@pytest.mark.skipif(find_ffmpeg() is None, reason="needs an ffmpeg, as imageio-ffmpeg brings one")
def test_with_ffmpeg_it_is_an_mp4(tmp_path: Path) -> None:
    path = write_video(tmp_path, made_up())
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]
    decode = [find_ffmpeg(), "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(decode, capture_output=True, check=True).stdout
    size = next(frames(made_up())).size
    pictures = np.frombuffer(data, np.uint8).reshape(-1, *size[::-1], 3)
    assert len(pictures) == 20
    assert pictures[10][100, 100].tolist() == pytest.approx([6 * 20] * 3, abs=4)


@pytest.mark.skipif(find_ffmpeg() is None, reason="needs an ffmpeg, as imageio-ffmpeg brings one")
def test_a_file_that_ffmpeg_cannot_write_is_an_error_with_its_words(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (3, 3))]  # H.264 takes even sides alone
    with (tmp_path / "odd.mp4").open("wb") as file, pytest.raises(OSError, match="failed"):
        video._encode(find_ffmpeg(), (3, 3), pictures, file)


def test_without_ffmpeg_it_is_a_gif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "find_ffmpeg", lambda: None)
    path = write_video(tmp_path, made_up())
    with Image.open(path) as made:
        assert (path.name, made.n_frames, made.info["duration"]) == ("video.gif", 20, 40)


@pytest.mark.parametrize(
    ("frames", "said"),
    [(True, "video.gif; `pip install 'memagent[video]'` brings"), (False, "cannot be rendered as pictures")],
)
def test_what_is_missing_is_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    frames: bool,
    said: str,
) -> None:
    monkeypatch.setattr(video, "find_ffmpeg", lambda: None)
    monkeypatch.setattr(evaluate, "record_change", lambda *_, **__: made_up(frames))
    evaluate.film(None, RunConfig(), tmp_path)
    printed = capsys.readouterr().out
    assert said in printed and len(printed.splitlines()) == 1
    with pytest.raises(RunError, match="cannot be written into") if frames else nullcontext():
        evaluate.film(None, RunConfig(), tmp_path / "nowhere")
