"""evaluate.py with several run folders: what it compares, refuses, writes and says."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import SMALL, Run, run

from memagent.comparing import load_judged, run_dirs_of
from memagent.evaluation.comparison import compare
from memagent.memory import MemoryConfig
from memagent.run_config import RunConfig
from memagent.runs import RunError, load_config, save_config, save_status
from memagent.seeds import begin, seed_dirs

__all__ = ["run"]
SETTINGS = {
    "contexts": 1,
    "episodes": 1,
    "warmup_episodes": 0,
    "seed": 0,
    "time_limit": 50,
    "deterministic": True,
}


def judge(run_dir: Path, score: float) -> None:
    """evaluation.json, as of an agent without adaptation."""
    record = {"context_id": 0, "split": "train", "context": {}, "adapted": False, "episodes": 1}
    record |= {"mean_return": score, "std_return": 0.0, "returns": [score], "warmup_returns": []}
    (run_dir / "evaluation.json").write_text(json.dumps({"contexts": [record], "settings": SETTINGS}))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of two settings with three seeds each, that were judged."""
    folders = []
    for kind, level in (("none", 10.0), ("lstm", 30.0)):
        config = RunConfig(
            env="CartPole-v1", memory=MemoryConfig(kind=kind), run_dir=tmp_path / "runs" / kind
        )
        folders.append(begin(config, [0, 1, 2]))
        for seed, run_dir in enumerate(seed_dirs(folders[-1])):
            judge(run_dir, level + seed)
    return folders[0], folders[1]


def test_folders_of_seeds_are_compared_as_groups(two: tuple[Path, Path], run: Run) -> None:
    code, out, err = run("evaluate.py", *two, "--group-by", "memory.kind")
    assert (code, err) == (0, "")
    assert "lstm is better than none on training contexts: by 20.0 [20.0, 20.0]." in out
    assert not re.search("held.out", out.replace("\n", " "))
    written = json.loads((two[0].parent / "comparison.json").read_text())
    assert written["groups"]["lstm"]["scores"]["train"]["mean"]["estimate"] == 31.0
    assert written["pairs"][0]["probability_of_improvement"]["estimate"] == 0.0
    assert (two[0].parent / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "lstm is better than none" in (two[0].parent / "comparison.html").read_text()


def test_another_comparison_is_not_replaced_in_silence(
    two: tuple[Path, Path], tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "out"
    assert "is replaced" not in run("evaluate.py", *two, "--out", out)[1]
    assert "is replaced" not in run("evaluate.py", *two, "--out", out)[1]
    said = run("evaluate.py", two[0], "--out", out)[1]
    assert f"Another comparison in {out / 'comparison.json'} is replaced." in said
    assert list(json.loads((out / "comparison.json").read_text())["groups"]) == ["none"]
    assert not (two[0].parent / "comparison.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda run_dir: save_config(run_dir, RunConfig(env="Pendulum-v1", seed=0)),
            "cannot be compared: env is",
        ),
        (
            lambda run_dir: (run_dir / "evaluation.json").write_text("{}"),
            "no evaluation that can be compared",
        ),
        (
            lambda run_dir: (run_dir / "evaluation.json").write_text("[1]"),
            "no evaluation that can be compared",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    two: tuple[Path, Path], run: Run, change: object, said: str
) -> None:
    change(two[1] / "seed-0")  # type: ignore[operator]
    code, out, err = run("evaluate.py", *two)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and said in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--episodes=9"], "seed-0 holds an evaluation with episodes 1, not 9; judge it anew by"),
        (["--group-by", "memory.kin"], "did you mean memory.kind?"),
        (["--group-by", "adapt"], "give one of adapt.enabled, adapt.phase_signal"),
        (["--out", __file__], "The comparison cannot be written into"),
    ],
)
def test_what_is_asked_for_in_vain_is_one_sentence(
    two: tuple[Path, Path], run: Run, arguments: list[str], said: str
) -> None:
    code, out, err = run("evaluate.py", *two, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and said in err and len(err.splitlines()) == 1


def test_a_comparison_says_which_training_did_not_end(two: tuple[Path, Path]) -> None:
    save_status(two[0] / "seed-1", "interrupted", 5)
    judged = [load_judged(path) for path in seed_dirs(two[0])]
    assert f"The training of {two[0] / 'seed-1'} did not come to its end." in compare(judged)["sentences"]


def test_no_evaluation_is_written_into_another_run(two: tuple[Path, Path], run: Run) -> None:
    code, _, err = run("evaluate.py", two[0] / "seed-1", "--out", two[1] / "seed-0")
    assert code == 2 and "seed-0 is another run's folder" in err


def test_other_evaluations_of_a_run_lie_in_it(two: tuple[Path, Path]) -> None:
    run_dir = two[0] / "seed-1"
    (run_dir / "other").mkdir()
    judge(run_dir / "other", 77.0)
    found = load_judged(run_dir / "other")
    assert found.settings["seed"] == 1 and found.records[0]["mean_return"] == 77.0
    assert run_dirs_of([run_dir / "other", two[0]]) == [run_dir / "other", *seed_dirs(two[0])]
    with pytest.raises(RunError, match="not a run folder"):
        load_judged(two[0] / "seed-9")


def test_what_was_not_judged_is_judged_first(tmp_path: Path, run: Run) -> None:
    arguments = "--env CartPole-v1 --total-timesteps 150 --num-envs 2 --memory.kind none --wandb disabled --device cpu"
    code, _, _ = run("train.py", *arguments.split(), "--run-dir", tmp_path / "a" / "one", *SMALL)
    assert code == 0
    one, two = tmp_path / "a" / "one", tmp_path / "b" / "two"
    evaluation = (one / "evaluation.json").read_bytes()
    two.mkdir(parents=True)
    config = load_config(one)
    save_config(two, replace(config, seed=5))
    (two / "evaluation.json").write_bytes(evaluation)
    (one / "evaluation.json").unlink()
    code, _, _ = run("evaluate.py", one, two, "--out", tmp_path / "out")
    assert code == 0
    assert (one / "evaluation.json").read_bytes() == evaluation
    (group,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["groups"].values()
    assert group["seeds"] == [0, 5]
