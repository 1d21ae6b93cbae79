"""The sweep file: what W&B's agent would run of it is a command line that train.py takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import train
from memagent.runs import load_config

ROOT = Path(__file__).parents[1]
SWEEP = yaml.safe_load((ROOT / "sweep.yaml").read_text())
PARAMETERS = SWEEP["parameters"]


def drawn(parameter: dict[str, Any], which: int) -> Any:
    """The first value of a parameter, or the last."""
    return (
        parameter["value"]
        if "value" in parameter
        else (parameter.get("values") or [parameter["min"], parameter["max"]])[which]
    )


def arguments(which: int) -> list[str]:
    """The words of `command` after the program, as W&B's agent fills them in: --name=value."""
    words = SWEEP["command"][SWEEP["command"].index("${program}") + 1 :]
    given = [f"--{name}={drawn(parameter, which)}" for name, parameter in PARAMETERS.items()]
    return [word for place in words for word in (given if place == "${args}" else [place])]


@pytest.mark.parametrize("which", [0, -1])
def test_every_draw_is_a_command_line_of_train(which: int) -> None:
    config = train.parse(arguments(which))
    for name, parameter in PARAMETERS.items():
        value: Any = config
        for part in name.replace("-", "_").split("."):
            value = getattr(value, part)
        assert value == drawn(parameter, which), name
    assert config.wandb == "online"


def test_the_file_is_one_that_wandb_takes() -> None:
    assert SWEEP["method"] in ("grid", "random", "bayes") and SWEEP["program"] == "train.py"
    assert SWEEP["metric"] == {"name": "eval/mean_reward", "goal": "maximize"}
    for parameter in PARAMETERS.values():
        assert parameter.keys() in ({"value"}, {"values"}, {"distribution", "min", "max"})


def test_what_the_agent_runs_trains(tmp_path: Path) -> None:
    small = [
        "--total-timesteps=64",
        "--num-envs=2",
        "--memory.kind=none",
        "--memory.hidden-size=8",
        "--evaluation.contexts=1",
    ]
    small += ["--evaluation.episodes=1", "--evaluation.warmup-episodes=0", "--wandb=disabled"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "evaluate", lambda *_: {"summary": {}})
        train.start([*arguments(0), *small, f"--run-dir={tmp_path / 'run'}"])
    config = load_config(tmp_path / "run")
    assert config.learner.gamma == 0.98 and config.adapt.enabled
