"""What W&B is told, read back from the file of an offline run."""

import csv
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import wandb
from offline_run import config, history, of_kind, read_records, summary
from stable_baselines3 import PPO
from stable_baselines3.common.logger import (
    Figure,
    FormatUnsupportedError,
    HParam,
    Image,
    Logger,
    Video,
    configure,
)

from memagent.tracking import Labels, Tracker, TrackingCallback, TrackingError, WandbWriter, start_run


def test_every_row_of_sb3s_logger_is_in_the_offline_run(tmp_path: Path) -> None:
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, n_epochs=1, seed=0)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    with start_run(tmp_path, {"seed": 3}) as tracker:
        agent.learn(192, callback=TrackingCallback(tracker))
        agent.learn(64, callback=TrackingCallback(tracker), reset_num_timesteps=False)
    agent.learn(64)  # the run is closed: its writer is gone
    agent.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        logged = list(csv.DictReader(file))
    rows = history(read_records(tmp_path))
    assert [row["global_step"] for row in rows] == [64, 128, 192, 256]
    assert len(logged) == 5
    for row, line in zip(rows, logged, strict=False):
        written = {key: float(value) for key, value in line.items() if value}
        assert {key: row[key] for key in written} == pytest.approx(written)
    assert "train/loss" in rows[1]


def test_charts_are_over_global_step(tmp_path: Path) -> None:
    start_run(tmp_path, {}).finish()
    metrics = {
        metric.name or metric.glob_name: metric for metric in of_kind(read_records(tmp_path), "metric")
    }
    assert metrics["*"].step_metric == "global_step"


def test_configuration_and_summary(tmp_path: Path) -> None:
    with start_run(tmp_path / "first", {"seed": 3, "memory": {"kind": "dnc"}}) as tracker:
        agent = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, n_epochs=1)
        agent.learn(64, callback=TrackingCallback(tracker))
        tracker.summarise({"train/adapted": 432.5})
    records = read_records(tmp_path / "first")
    (run,) = of_kind(records, "run")
    assert (run.project, run.display_name) == ("memagent", "first")
    assert config(records)["memory"] == {"kind": "dnc"}
    assert config(records)["algorithm"] == "PPO"
    assert config(records)["num_parameters"] == sum(p.numel() for p in agent.policy.parameters())
    assert summary(records)["train/adapted"] == 432.5


def test_pictures_drawn_or_on_disk(tmp_path: Path) -> None:
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    figure.savefig(tmp_path / "stream.png")
    with start_run(tmp_path, {}) as tracker:
        tracker.log_figure("drawn", figure, 7)
        tracker.log_figure("stored", tmp_path / "stream.png", 8)
    plt.close(figure)
    drawn, stored = history(read_records(tmp_path))
    (files,) = (tmp_path / "wandb").glob("offline-run-*/files")
    assert (drawn["global_step"], stored["global_step"]) == (7, 8)
    assert (files / drawn["drawn.path"]).read_bytes().startswith(b"\x89PNG")
    assert (files / stored["stored.path"]).read_bytes() == (tmp_path / "stream.png").read_bytes()


def test_the_model_is_an_artifact_that_stays_in_the_run_folder(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.zip": b"weights"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with start_run(tmp_path, {}) as tracker:
        paths = [tmp_path / name for name in files]
        tracker.log_files("model", paths, ["latest", "best"], {"return": 500})
    (artifact,) = of_kind(read_records(tmp_path), "artifact")
    assert (artifact.name, artifact.type, artifact.finalize) == ("model", "model", True)
    assert sorted(artifact.aliases) == ["best", "latest"]
    assert json.loads(artifact.metadata) == {"return": 500}
    kept = {content.path: content for content in artifact.manifest.contents}
    assert {name: content.size for name, content in kept.items()} == {n: len(c) for n, c in files.items()}
    assert {Path(content.local_path) for content in kept.values()} == {tmp_path / name for name in files}


def test_tables_and_videos_are_files_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "video.gif").write_bytes(b"GIF89a")
    with start_run(tmp_path, {}) as tracker:
        tracker.log_table(
            "eval/scores", ["context", "adapted", "return"], [[0, True, 1.5], [1, None, None]], 7
        )
        tracker.log_video("video/change", tmp_path / "video.gif", 8)
    table, video = history(read_records(tmp_path))
    (files,) = (tmp_path / "wandb").glob("offline-run-*/files")
    assert (table["global_step"], video["global_step"]) == (7, 8)
    assert (table["eval/scores._type"], table["eval/scores.nrows"]) == ("table-file", 2)
    held = json.loads((files / table["eval/scores.path"]).read_text())
    assert (held["columns"], held["data"]) == (
        ["context", "adapted", "return"],
        [[0, True, 1.5], [1, None, None]],
    )
    assert (files / video["video/change.path"]).read_bytes() == b"GIF89a"


def test_a_run_is_found_by_its_name_group_job_and_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = Labels("CartPole-dnc-seed0", "CartPole-dnc", "train", ["dnc", "x" * 80])
    start_run(tmp_path / "a", {}, labels=labels).finish()
    for name, value in {
        "WANDB_RUN_GROUP": "night",
        "WANDB_JOB_TYPE": "sweep",
        "WANDB_TAGS": "mine, ours,",
    }.items():
        monkeypatch.setenv(name, value)
    start_run(tmp_path / "b", {}, labels=labels).finish()
    ours, theirs = (of_kind(read_records(tmp_path / name), "run")[0] for name in ("a", "b"))
    assert (ours.display_name, ours.run_group, ours.job_type) == (
        "CartPole-dnc-seed0",
        "CartPole-dnc",
        "train",
    )
    assert sorted(ours.tags) == ["dnc", "x" * 64]
    assert (theirs.run_group, theirs.job_type, sorted(theirs.tags)) == ("night", "sweep", ["mine", "ours"])


DEAD = """
import os, pathlib, signal, subprocess, sys
from memagent.tracking import start_run
tracker = start_run(pathlib.Path(sys.argv[1]), {})
told = subprocess.run(["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True).stdout.splitlines()
found = [line.split(None, 2) for line in told]
(core,) = [pid for pid, parent, command in found if parent == str(os.getpid()) and "wandb-core" in command]
os.kill(int(core), signal.SIGKILL)
for step in range(20):
    tracker.log({"loss": 1.0}, step)
tracker.summarise({"return": 1.0})
tracker.finish()
print("trained")
"""


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs to find W&B's process")
def test_a_training_outlives_the_process_of_wandb(tmp_path: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_SERVICE")}
    command = [sys.executable, "-c", DEAD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    assert done.stderr.count("the run is not tracked from here on.") == 1


def test_a_full_disk_is_said_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with start_run(tmp_path, {}) as tracker, monkeypatch.context() as patch:
        patch.setattr(type(tracker.run), "log", full)
        agent = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, n_epochs=1)
        agent.learn(192, callback=TrackingCallback(tracker))
    said = capsys.readouterr().err
    assert said.count("W&B failed") == 1 and "No space left on device" in said
    assert len(said.splitlines()) == 1


def test_without_a_network_or_room_a_training_is_tracked_as_far_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    init = wandb.init

    def failing(**settings: Any) -> wandb.Run:
        if settings["mode"] == "online":
            raise wandb.errors.CommError("The server cannot be reached.\nRetrying.")
        if settings["mode"] == "offline" and len(calls) > 2:
            raise OSError(28, "No space left on device")
        return init(**settings)

    calls: list[str] = []
    monkeypatch.setattr(
        wandb, "init", lambda **settings: calls.append(settings["mode"]) or failing(**settings)
    )
    start_run(tmp_path / "a", {}, "online").finish()
    assert len(of_kind(read_records(tmp_path / "a"), "run")) == 1
    with start_run(tmp_path / "b", {}, "online") as tracker:
        tracker.log({"loss": 1.0}, 1)
    assert calls == ["online", "offline", "online", "offline", "disabled"]
    said = capsys.readouterr().err.splitlines()
    online = "W&B could not start the run online (The server cannot be reached.)"
    assert said == [
        f"{online}; it is tracked offline: upload it later with `wandb sync`.",
        said[0],
        "W&B could not start the run offline ([Errno 28] No space left on device); it is not tracked.",
    ]


def test_runs_of_a_process_are_each_their_own(tmp_path: Path) -> None:
    """A second seed, a cell of a notebook run again, a run of the user's around ours."""
    mine = wandb.init(dir=tmp_path, mode="offline", settings=wandb.Settings(console="off", silent=True))
    first, second = (start_run(tmp_path / name, {"seed": name}) for name in ("a", "b"))
    second.log({"x": 2.0}, 2)
    second.finish()
    first.log({"x": 1.0}, 1)
    first.finish()
    assert len({mine.id, first.run.id, second.run.id}) == 3
    assert wandb.run is mine
    mine.log({"x": 3.0})  # an error if it were finished
    mine.finish()
    for name, x in (("a", 1.0), ("b", 2.0)):
        records = read_records(tmp_path / name)
        assert config(records)["seed"] == name
        assert [row["x"] for row in history(records)] == [x]


def test_wandbs_own_variables_are_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_NAME", "night")
    start_run(tmp_path / "a", {}).finish()
    start_run(tmp_path / "b", {}, project="ours", name="day").finish()
    runs = [of_kind(read_records(tmp_path / name), "run")[0] for name in ("a", "b")]
    assert [(run.project, run.display_name) for run in runs] == [("theirs", "night"), ("ours", "day")]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    start_run(tmp_path / "c", {}).finish()
    assert not list((tmp_path / "c").iterdir())
    start_run(tmp_path / "d", {}, mode="offline").finish()
    assert read_records(tmp_path / "d")
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(
        TrackingError, match="'sometimes', as given or by WANDB_MODE; choose one of offline, online"
    ):
        start_run(tmp_path / "e", {})


def test_pictures_settings_and_exclusions_of_sb3s_logger(tmp_path: Path) -> None:
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    with start_run(tmp_path, {}) as tracker:
        logger = Logger(None, [WandbWriter(tracker)])
        logger.record("plain", np.float32(0.5))
        logger.record("hidden", 1.0, exclude="wandb")
        logger.record("figure", Figure(figure, close=True))
        logger.record("image", Image(torch.zeros(3, 4, 6, dtype=torch.uint8), dataformats="CHW"))
        logger.record("hparam", HParam({"lr": 1e-3}, {"plain": 0.0}))
        logger.dump(11)
        logger.record("video", Video(torch.zeros(1, 1, 3, 4, 6), fps=1))
        with pytest.raises(FormatUnsupportedError, match="video"):
            logger.dump(12)
    records = read_records(tmp_path)
    (row,) = history(records)
    assert (row["plain"], row["global_step"]) == (0.5, 11)
    assert "hidden" not in row
    assert row["figure._type"] == "image-file"
    assert (row["image.height"], row["image.width"]) == (4, 6)
    assert config(records)["lr"] == 1e-3
    assert not plt.fignum_exists(figure.number)


def test_pictures_that_cannot_be_written_end_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    figure, _ = plt.subplots()
    with start_run(tmp_path, {}) as tracker:
        monkeypatch.setattr(wandb, "Image", full)
        logger = Logger(None, [WandbWriter(tracker)])
        logger.record("figure", Figure(figure, close=True))
        logger.dump(11)
        assert tracker.lost and "No space left on device" in capsys.readouterr().err
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (KeyboardInterrupt(), 130),
        (SystemExit(2), 2),
        (SystemExit("why"), 1),
        (SystemExit(), 0),
        (ValueError(), 1),
    ],
)
def test_a_run_is_finished_however_it_ends(tmp_path: Path, error: BaseException, exit_code: int) -> None:
    tracker = start_run(tmp_path, {})
    writer = WandbWriter(tracker)
    writer.write({"loss": 1.0}, {}, step=5)
    with pytest.raises(type(error)), tracker:
        raise error
    writer.write({"loss": 2.0}, {}, step=6)  # SB3's logger may outlive the run
    tracker.finish()
    records = read_records(tmp_path)
    assert [row["global_step"] for row in history(records)] == [5]
    (end,) = of_kind(records, "exit")
    assert end.exit_code == exit_code


def test_disabled_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"weights")
    figure = plt.figure()
    with start_run(tmp_path, {"seed": 3}, mode="disabled") as tracker:
        tracker.log({"loss": 1.0}, 5)
        tracker.log_figure("figure", figure, 5)
        tracker.log_files("model", [tmp_path / "model.zip"])
        tracker.log_table("scores", ["context", "return"], [["a", 1.0]], 5)
        tracker.update_config({"device": "cpu"})
        tracker.summarise({"return": 500})
    plt.close(figure)
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TrackingError, match="'dryrun', as given or by WANDB_MODE; choose one of offline, online"
    ):
        start_run(tmp_path, {}, mode="dryrun")  # type: ignore[arg-type]


def test_online_without_an_account_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**settings: object) -> None:
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login`.")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(
        TrackingError, match=r"online \(No API key configured\.\); log in once with `wandb login`"
    ):
        start_run(tmp_path, {}, mode="online")


@pytest.mark.parametrize("mode", ["offline", "disabled", "online"])
def test_a_project_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: Any
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "team/drift")
    with pytest.raises(
        TrackingError, match=rf"run {mode} \(Invalid project name 'team/drift'.*mend what it names"
    ):
        start_run(tmp_path, {}, mode=mode)
    assert "not tracked" not in capsys.readouterr().err


def test_a_variable_that_wandb_does_not_take_is_one_sentence(tmp_path: Path) -> None:
    """In a process of its own: W&B reads its variables once."""
    start = "import sys, pathlib; from memagent.tracking import start_run; start_run(pathlib.Path(sys.argv[1]), {})"
    variables = os.environ | {"WANDB_INIT_TIMEOUT": "soon", "WANDB_MODE": "offline"}
    ended = subprocess.run(
        [sys.executable, "-c", start, tmp_path], env=variables, capture_output=True, text=True, check=False
    )
    said = ended.stderr.splitlines()[-1]
    assert said.startswith("memagent.tracking.TrackingError: W&B takes no such setting")
    assert "init_timeout" in said and "mend the variable" in said


OFFLINE_RUN = """
import sys, pathlib
from memagent.tracking import start_run
with start_run(pathlib.Path(sys.argv[1]), {}) as tracker:
    tracker.log({"loss": 1.0}, 5)
"""


@pytest.fixture
def proxy_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What subprocesses ask of the network: their proxy, which every HTTP client honours, notes it and hangs up."""
    requests: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            requests.append(self.request.recv(1024))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("NO_PROXY", "no_proxy", "WANDB_MODE", "WANDB_ERROR_REPORTING"):
            monkeypatch.delenv(name, raising=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield requests
        server.shutdown()
        thread.join()


# W&B's own error reports, switched on by hand, show that the proxy would have noticed.
@pytest.mark.parametrize(("error_reporting", "connects"), [(None, False), ("true", True)])
def test_an_offline_run_opens_no_connection(
    tmp_path: Path,
    proxy_requests: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    error_reporting: str | None,
    connects: bool,
) -> None:
    if error_reporting is not None:
        monkeypatch.setenv("WANDB_ERROR_REPORTING", error_reporting)
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_RUN, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert bool(proxy_requests) == connects
    assert len(history(read_records(tmp_path))) == 1


def test_a_folder_that_goes_on_has_one_run_whose_steps_never_go_back(tmp_path: Path) -> None:
    def log(tracker: Tracker, steps: tuple[int, ...]) -> None:
        logger = Logger(None, [WandbWriter(tracker)])
        for step in steps:
            logger.record("loss", float(step))
            logger.dump(step)

    with start_run(tmp_path / "a", {"seed": 3}) as tracker:
        log(tracker, (10, 20, 30))
        first = tracker.run.id
    segments = [history(read_records(tmp_path / "a"))]
    shutil.move(tmp_path / "a" / "wandb", tmp_path / "first")
    with start_run(tmp_path / "a", {"seed": 3}, logged=30) as tracker:  # killed, and back at step 15
        assert tracker.run.id == first
        log(tracker, (20, 30, 40))
    segments.append(history(read_records(tmp_path / "a")))
    shutil.move(tmp_path / "a" / "wandb", tmp_path / "second")
    with start_run(
        tmp_path / "a", {"seed": 3}, logged=25
    ) as tracker:  # killed again, before it was at 30 anew
        assert tracker.run.id == first
        log(tracker, (30, 50))
    segments.append(history(read_records(tmp_path / "a")))
    assert [[row["global_step"] for row in rows] for rows in segments] == [[10, 20, 30], [40], [50]]


def test_a_folder_without_a_known_run_gets_a_new_one(tmp_path: Path) -> None:
    for text in ("", "{}", '{"run": 3, "logged": 4}', "[]"):
        (tmp_path / "tracking.json").write_text(text)
        with start_run(tmp_path, {}, mode="disabled") as tracker:
            assert tracker.logged == -1
