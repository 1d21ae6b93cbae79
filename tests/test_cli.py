"""train.py and evaluate.py as a person runs them: what they leave, what they say, how they end."""

import csv
import json
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import wandb
from offline_run import config as tracked_config
from offline_run import history, of_kind, read_records, summary

import envs
from memagent.checkpoints import saved
from memagent.progress import read_episodes
from memagent.run_config import RunConfig
from memagent.runs import load_agent, load_config

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG"
SMALL_SETTINGS = {
    "memory": {"memory-size": 6, "memory-dim": 4, "num-read-heads": 2, "hidden-size": 8},
    "replay": {"burn-in": 2, "rows": 8, "stride": 4, "n-step": 2},
    "learner": {"batch-size": 4, "learning-starts": 100, "steps-per-update": 32},
    "adapt": {"support": 8},
    "meta": {"num-steps": 1},
    "evaluation": {"contexts": 2, "episodes": 2, "warmup-episodes": 1},
}
SMALL = [
    f"--{part}.{name}={value}" for part, values in SMALL_SETTINGS.items() for name, value in values.items()
]


def start(script: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    # A job in the background of a shell is born deaf to Ctrl-C, and so would be its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script within this process: its exit code, what it printed, what it complained of."""

    def run(script: str, *arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        monkeypatch.syspath_prepend(str(ROOT))
        code = 0
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A short run on drifting CartPole with the DNC: its folder, what it printed, and its progress bars."""
    folder = tmp_path_factory.mktemp("cli")
    documented = "--env Drift/CartPole-v0 --total-timesteps 800 --seed 3 --num-envs 2 --run-dir made/run"
    drift = "--memory.kind dnc --wandb offline --schedule cycle --phase-steps 60"
    process = start("train.py", *documented.split(), *drift.split(), *SMALL, cwd=folder)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return folder / "made" / "run", out, err


def test_a_run_leaves_its_folder(trained: tuple[Path, str, str]) -> None:
    run_dir, out, _ = trained
    made = {path.name for path in run_dir.iterdir()}
    files = {"config.json", "progress.csv", "episodes.csv", "model.zip", "evaluation.json", "report.html"}
    files |= {"status.json", "tracking.json", "phase_scores.json", "best_model.zip"}
    assert made == files | {"figures", "wandb"}
    assert "made/run/report.html" in out
    figures = {path.name: path.read_bytes() for path in (run_dir / "figures").iterdir()}
    adaptation = {"episodes.png", "context.png", "model.png"}
    assert figures.keys() == {"stream.png", "contexts.png", "memory.png"} | adaptation
    assert all(picture.startswith(PNG) for picture in figures.values())
    config = load_config(run_dir)
    assert (config.env, config.seed, config.schedule, config.memory.memory_size) == (
        "Drift/CartPole-v0",
        3,
        "cycle",
        6,
    )
    page = (run_dir / "report.html").read_text()
    # curve, matrix, stream, two splits after the change and by context, two of the context, the model; of the player
    assert page.count('<div class="chart"') == 3 + 2 + 2 + 2 + 1 + 1
    assert 'id="frame"' in page and "read weights, head 2" in page and "action_sign" in page
    assert "python train.py --env Drift/CartPole-v0 --schedule cycle --phase-steps 60" in page


def test_the_bar_shows_return_phase_and_speed(trained: tuple[Path, str, str]) -> None:
    _, _, err = trained
    bars = err.replace("\r", "\n")
    assert "800/800" in bars
    assert "return=" in bars
    assert "phase=" in bars
    assert "step/s" in bars
    assert "Warning" not in err


def test_training_is_logged_over_steps_and_phases(trained: tuple[Path, str, str]) -> None:
    run_dir, _, _ = trained
    with (run_dir / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["time/total_timesteps"]) >= 800
    assert float(rows[-1]["train/loss"]) > 0
    episodes = read_episodes(run_dir / "episodes.csv")
    assert set(episodes["env"]) == {0, 1}
    assert episodes["phase"].max() >= 3  # 400 steps each, 60 steps a phase and the rest of its last episode
    assert set(episodes["context_id"]) <= {0, 1, 2, 3}
    assert (episodes["return"] == episodes["length"]).all()  # CartPole pays 1 a step: returns are native


def test_the_evaluation_has_the_documented_form(trained: tuple[Path, str, str]) -> None:
    run_dir, out, _ = trained
    evaluation = json.loads((run_dir / "evaluation.json").read_text())
    records = evaluation["contexts"]
    played = [(r["context_id"], r["split"], r["adapted"]) for r in records]
    contexts = [(0, "train"), (1, "train"), (2, "held_out"), (3, "held_out")]
    assert sorted(played) == sorted((i, split, adapted) for i, split in contexts for adapted in (False, True))
    for record in records:
        values = envs.contexts("Drift/CartPole-v0", record["split"], 2)[record["context_id"] % 2]
        assert record["context"] == values
        assert (record["episodes"], len(record["warmup_returns"])) == (2, 1)
        assert record["mean_return"] == pytest.approx(np.mean(record["returns"]))
        assert record["std_return"] == pytest.approx(np.std(record["returns"]))
    for split in ("train", "held_out"):
        for name, adapted in (("adapted", True), ("unadapted", False)):
            means = [r["mean_return"] for r in records if (r["split"], r["adapted"]) == (split, adapted)]
            assert evaluation["summary"][split][name] == pytest.approx(np.mean(means))
    assert "training (2)" in out
    assert "held out (2)" in out


def test_wandb_has_the_run(trained: tuple[Path, str, str]) -> None:
    run_dir, _, _ = trained
    records = read_records(run_dir)
    rows = history(records)
    keys = {key for row in rows for key in row}
    logged = ("train/loss", "train/adaptation_gain", "train/grad_norm", "replay/windows", "memory/usage")
    assert {*logged, "rollout/ep_rew_mean", "rollout/phase", "time/fps", "figures/stream.path"} <= keys
    steps = [row["global_step"] for row in rows]
    assert steps == sorted(steps)
    assert steps[-1] >= 800
    assert tracked_config(records)["memory"]["memory_size"] == 6
    artifacts = of_kind(records, "artifact")
    held = {
        (artifact.name, *sorted(artifact.aliases)): {content.path for content in artifact.manifest.contents}
        for artifact in artifacts
        if artifact.type in ("model", "report", "config")
    }
    assert held == {
        ("model", "best", "latest"): {"best_model.zip", "config.json"},
        ("model", "latest"): {"model.zip", "config.json"},
        ("report", "latest"): {"report.html", "evaluation.json", "phase_scores.json"},
        ("config", "latest"): {"config.json"},
    }
    (named,) = of_kind(records, "run")
    assert (named.display_name, named.run_group, named.job_type) == (
        "CartPole-v0-dnc-seed3",
        "CartPole-v0-dnc",
        "train",
    )
    assert sorted(named.tags) == ["Drift/CartPole-v0", "adapted", "memory dnc", "seed 3"]
    assert {key.partition("/")[0] for key in keys} <= {
        *("rollout", "train", "memory", "replay", "adapt", "eval", "time", "figures"),
        *("global_step", "_step", "_timestamp", "_runtime"),
    }
    assert {
        "eval/mean_reward",
        "eval/forgetting",
        "eval/contexts_table.path",
        "eval/phase_matrix.path",
    } <= keys
    (files,) = (run_dir / "wandb").glob("offline-run-*/files")
    (table,) = [row["eval/contexts_table.path"] for row in rows if "eval/contexts_table.path" in row]
    assert len(json.loads((files / table).read_text())["data"]) == 8
    scores = json.loads((run_dir / "evaluation.json").read_text())["summary"]
    assert {f"{split}/{kind}" for split in scores for kind in scores[split]} == {
        key.removeprefix("eval/")
        for key in summary(records)
        if key.startswith(("eval/train/", "eval/held_out/"))
    }
    assert summary(records)["eval/train/adapted"] == scores["train"]["adapted"]
    assert [end.exit_code for end in of_kind(records, "exit")] == [0]


def test_evaluate_rebuilds_the_agent_and_finds_the_same(trained: tuple[Path, str, str], run: Run) -> None:
    run_dir, printed, _ = trained
    path = run_dir / "evaluation.json"
    before = json.loads(path.read_text())
    path.unlink()
    (run_dir / "report.html").unlink()
    code, out, _ = run("evaluate.py", run_dir)
    assert code == 0
    assert json.loads(path.read_text()) == before
    assert (run_dir / "report.html").is_file()
    rows = [line for line in printed.splitlines() if line.startswith(("training", "held out"))]
    assert len(rows) == 2
    assert all(row in out for row in rows)


def test_another_evaluation_takes_no_ones_place(
    trained: tuple[Path, str, str], tmp_path: Path, run: Run
) -> None:
    path = trained[0] / "evaluation.json"
    before = path.read_bytes()
    other = ["--contexts=1", "--episodes=1", "--seed=5"]
    code, out, err = run("evaluate.py", trained[0], *other)
    assert (code, out, path.read_bytes()) == (2, "", before)
    assert err.startswith(f"error: {path} holds an evaluation with other settings") and "--out" in err
    code, _, _ = run("evaluate.py", trained[0], *other, "--out", tmp_path / "new" / "out")
    assert (code, path.read_bytes()) == (0, before)
    assert {p.name for p in (tmp_path / "new" / "out").iterdir()} == {
        "evaluation.json",
        "figures",
        "report.html",
    }
    made = json.loads((tmp_path / "new" / "out" / "evaluation.json").read_text())
    assert len(made["contexts"]) == 4
    assert made["contexts"][0]["context"] != json.loads(before)["contexts"][0]["context"]
    within = shutil.copytree(trained[0], tmp_path / "copy") / "another"
    assert run("evaluate.py", tmp_path / "copy", *other, "--out", within)[0] == 0
    held = (within / "evaluation.json").read_bytes()
    code, _, err = run("evaluate.py", within, *other)  # which names run and folder at once
    assert (code, (within / "evaluation.json").read_bytes()) == (0, held), err


def test_episodes_of_contexts_that_never_were_are_one_sentence(
    trained: tuple[Path, str, str], tmp_path: Path, run: Run
) -> None:
    copy = shutil.copytree(trained[0], tmp_path / "copy")
    (copy / "episodes.csv").write_text("step,env,phase,context_id,return,length\n1,0,0,-7,3,5\n")
    code, _, err = run("evaluate.py", copy)
    assert code == 2
    assert "error: episodes.csv is not that of a training in Drift/CartPole-v0: There is no context -7" in err


def test_continuous_actions_leave_the_same_folder(
    tmp_path: Path, run: Run, trained: tuple[Path, str, str]
) -> None:
    arguments = "--env Drift/Pendulum-v0 --total-timesteps 800 --num-envs 2 --wandb offline --device cpu"
    run_dir, twin = tmp_path / "run", trained[0]
    code, _, _ = run("train.py", *arguments.split(), "--adapt.enabled", "--run-dir", run_dir, *SMALL)
    assert code == 0
    assert {path.name for path in run_dir.iterdir()} == {path.name for path in twin.iterdir()}
    mine, other = ({key for row in history(read_records(d)) for key in row} for d in (run_dir, twin))
    transfer = {
        "eval/forgetting",
        "eval/forward_transfer",
    }  # a phase of the Pendulum is longer than this training
    assert mine ^ other == {"rollout/temperature", "rollout/exploration_rate"} | transfer
    before = json.loads((run_dir / "evaluation.json").read_text())
    assert {(r["split"], r["adapted"]) for r in before["contexts"]} == {
        (split, adapted) for split in ("train", "held_out") for adapted in (False, True)
    }

    def judged(name: str, *arguments: str) -> dict[str, Any]:
        code, _, _ = run("evaluate.py", run_dir, "--out", tmp_path / name, *arguments)
        assert code == 0
        return json.loads((tmp_path / name / "evaluation.json").read_text())

    assert judged("again") == before
    sampled = judged("sampled", "--deterministic", "False")
    assert not sampled["settings"]["deterministic"]
    assert sampled["summary"] != before["summary"]


def test_an_environment_that_does_not_drift_is_one_phase(tmp_path: Path, run: Run) -> None:
    arguments = "--env CartPole-v1 --total-timesteps 300 --num-envs 2 --memory.kind none --wandb disabled --device cpu"
    code, out, _ = run("train.py", *arguments.split(), "--run-dir", tmp_path / "run", *SMALL)
    assert code == 0
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [(r["split"], r["context"], r["adapted"]) for r in evaluation["contexts"]] == [
        ("train", {}, False)
    ]
    assert evaluation["summary"]["held_out"] == {"adapted": None, "unadapted": None}
    assert set(read_episodes(tmp_path / "run" / "episodes.csv")["phase"]) == {0}
    assert "training (1)" in out
    assert "adapted" not in out
    assert {p.name for p in (tmp_path / "run" / "figures").iterdir()} == {"stream.png", "contexts.png"}
    assert not (tmp_path / "run" / "wandb").exists()


def test_ctrl_c_saves_the_agent_and_says_where(tmp_path: Path) -> None:
    process = start("train.py", "--num-envs=2", "--run-dir=run", *SMALL, cwd=tmp_path)
    episodes = tmp_path / "run" / "episodes.csv"
    while process.poll() is None and not (episodes.exists() and len(episodes.read_text().splitlines()) > 20):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "the agent is saved in run/model.zip" in err
    assert "Traceback" not in out + err
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    config = load_config(tmp_path / "run")
    env = envs.make_vec(config.env, 1, seed=0)
    load_agent(tmp_path / "run", config, env)
    env.close()
    assert [end.exit_code for end in of_kind(read_records(tmp_path / "run"), "exit")] == [130]


def test_a_killed_training_leaves_its_checkpoint(tmp_path: Path, run: Run) -> None:
    small = ["--wandb=disabled", "--memory.kind=none", "--save-every=100", *SMALL]
    process = start("train.py", "--env=CartPole-v1", "--num-envs=2", "--run-dir=run", *small, cwd=tmp_path)
    while process.poll() is None and not saved(tmp_path / "run" / "checkpoints"):
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "training"
    code, out, _ = run("evaluate.py", tmp_path / "run")
    assert code == 0
    assert "was not finished" in out and f"{tmp_path / 'run' / 'checkpoints'}/" in out and "is of step" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", "Drift/Carpole-v0"], "The environment Drift/Carpole-v0 cannot be made"),
        (["--env", "nowhere:Thing-v0"], "The environment nowhere:Thing-v0 cannot be made"),
        (["--env", "Pendulum-v1", "--algo", "dqn"], "No agent can learn in Pendulum-v1"),
        (["--env", "CartPole-v1", "--algo", "sac"], "No agent can learn in CartPole-v1"),
        (["--env", "CartPole-v1", "--schedule", "cycle"], "CartPole-v1 takes no schedule"),
        (["--run-dir", str(ROOT)], f"{ROOT} is there already and not empty"),
        (["--device", "gpu"], "No agent can learn in Drift/CartPole-v0: device is 'gpu'"),
        (["--phase-steps", "-5"], "The environment Drift/CartPole-v0 cannot be made: Periodic(every=-5)"),
        (["--replay.capacity", str(10**11)], "No agent can learn in Drift/CartPole-v0: A replay of"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    tmp_path: Path, run: Run, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("train.py", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing is left of a run that never began


@pytest.mark.parametrize("given", [[], ["--run-dir=some/new"], ["--run-dir=empty"]])
def test_a_start_that_fails_leaves_nothing_behind(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    def init(**settings: object) -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb, "init", init)
    (tmp_path / "empty").mkdir()
    code, out, err = run("train.py", "--env=CartPole-v1", "--wandb=online", *given)
    assert (code, out) == (2, "")
    assert err.startswith("error: W&B could not start the run online")
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_a_training_without_an_update_says_that_nothing_was_learned(tmp_path: Path, run: Run) -> None:
    """In a folder whose name rich would read as markup."""
    run_dir = tmp_path / "a[/b]c"
    short = [
        "--env=CartPole-v1",
        "--total-timesteps=64",
        "--num-envs=2",
        "--memory.kind=none",
        "--wandb=disabled",
    ]
    code, out, _ = run("train.py", *short, *SMALL, "--run-dir", run_dir)
    assert code == 0
    assert (
        "Nothing was learned: not one update was made in 64 steps. After 100 steps one comes every 32" in out
    )
    assert f"CartPole-v1, memory none, {run_dir}" in out.replace("\n", "")
    assert "Nothing was learned" in (run_dir / "report.html").read_text()


def test_a_report_says_that_the_training_was_interrupted(
    trained: tuple[Path, str, str], tmp_path: Path, run: Run
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    assert "The training was" not in (copy / "report.html").read_text()
    (copy / "status.json").write_text('{"state": "interrupted", "steps": 800}')
    code, out, _ = run("evaluate.py", copy)
    assert code == 0
    for shown in (out, (copy / "report.html").read_text()):
        assert "The training was interrupted after 800 of 800 steps." in shown


def test_without_a_run_folder_there_is_help(run: Run) -> None:
    code, out, err = run("evaluate.py")
    assert (code, err) == (2, "")
    assert "--contexts" in out and "Run folders, as train.py leaves them" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--contexts", "0"], "contexts is 0; give 1 or more."),
        (["--device", "gpu"], "device is 'gpu', which PyTorch cannot use here"),
        (["--out", __file__], "cannot be written into"),
        (["nowhere", "--out", "new"], "nowhere is not a run folder"),
        (
            ["--model=ppo.zip", "--algo=ppo", "--env=CartPole-v1", "--video"],
            "A model and run folders were given",
        ),
    ],
)
def test_an_evaluation_that_cannot_be_is_one_sentence(
    trained: tuple[Path, str, str], run: Run, arguments: list[str], said: str
) -> None:
    code, out, err = run("evaluate.py", trained[0], *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and said in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs to see what a process has loaded")
def test_ctrl_c_while_libraries_load_is_no_traceback(tmp_path: Path) -> None:
    for script in ("train.py", "evaluate.py"):
        process = start(script, "--help", cwd=tmp_path)
        while process.poll() is None and not listens(process.pid):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "Interrupted.\n")
        assert process.returncode == 130


def listens(pid: int) -> bool:
    """Whether a process has begun to load PyTorch: it has its handler of Ctrl-C, and has done nothing yet."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_what_cannot_be_evaluated_is_one_sentence(tmp_path: Path, run: Run) -> None:
    code, out, err = run("evaluate.py", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'nowhere'} is not a run folder")
    assert len(err.splitlines()) == 1
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.zip").write_bytes(b"not a zip file")
    code, out, err = run("evaluate.py", tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'model.zip'} was not loaded: it is not a whole ZIP")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "config.json",
            '{"adapt": {"enabled": "false"}}',
            "AdaptConfig.enabled is 'false'; give true or false",
        ),
        ("config.json", '{"total_timestep": 5}', "did you mean total_timesteps?"),
        ("config.json", '{"env": "os:Thing-v0"}', "a module would be imported"),
        ("model.zip", "PK", "was not loaded: it is not a whole ZIP archive"),
        ("status.json", '{"state": "done"}', "does not say how far a run has come: state is 'done'"),
        ("status.json", "{}", "does not say how far a run has come"),
        ("episodes.csv", "step,env\n1,2\n", "does not hold the episodes of a training"),
        ("episodes.csv", "", "does not hold the episodes of a training"),
        ("episodes.csv", "step,env,phase,context_id,return,length\n1,0,0,0,nan,5\n", "finite numbers"),
    ],
)
def test_a_broken_folder_is_one_sentence_and_stays_as_it_is(
    trained: tuple[Path, str, str], tmp_path: Path, run: Run, name: str, text: str, said: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    (copy / name).write_text(text)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    code, out, err = run("evaluate.py", copy)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and err.startswith("error: ") and said in err
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--learner.gamma", "2"],
        ["--memory.kind", "rnn"],
        ["--evaluation.seed", "-1"],
        ["--seed", str(2**32)],
        ["--no-such-flag"],
    ],
)
def test_a_value_out_of_its_range_is_refused(run: Run, arguments: list[str]) -> None:
    code, out, err = run("train.py", *arguments)
    assert (code, out) == (2, "")
    assert arguments[0].lstrip("-").rpartition(".")[2] in err


def flags(kind: type, prefix: str = "--") -> list[str]:
    """The flag of every field of a dataclass, nested ones too."""
    types: dict[str, Any] = get_type_hints(kind)
    found = []
    for field in fields(kind):
        name = prefix + field.name.replace("_", "-")
        found += flags(types[field.name], f"{name}.") if is_dataclass(types[field.name]) else [name]
    return found


def test_help_explains_every_field(run: Run) -> None:
    code, out, _ = run("train.py", "--help")
    assert code == 0
    for flag in ("--resume", "--seeds", "--jobs", "--tune", "--preset", "--ray", "--trust"):
        assert f"\n  {flag} " in out, f"{flag} is not explained"
    assert "--stop-with-input" not in out
    lines = [line.strip("│ ") for line in out.splitlines()]
    for flag in flags(RunConfig):
        (at,) = [i for i, line in enumerate(lines) if line.split(" ")[0].rstrip(",") == flag]
        assert lines[at + 1][:1].isalnum() or lines[at + 1].startswith('"'), f"{flag} is not explained"
