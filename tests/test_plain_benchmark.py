"""The benchmark without drift trains what the command line trains, and its table says what the runs gave."""

from stable_baselines3 import DQN, SAC

from benchmarks.plain import TASKS, command, make_ours, table
from memagent.run_config import RunConfig, settings_of
from train import parse


def test_ours_is_what_the_command_line_makes() -> None:
    config = parse(command("Pendulum-v1", "memagent", seed=3))
    assert (config.env, config.seed, config.total_timesteps) == ("Pendulum-v1", 3, TASKS["Pendulum-v1"].steps)
    assert settings_of(config)["memory"] == settings_of(RunConfig())["memory"]
    agent = make_ours("Pendulum-v1", "memagent, no memory", seed=3)
    assert agent.learner == config.learner and agent.memory_config.kind == "none" and agent.seed == 3


def test_the_rivals_are_those_of_the_actions() -> None:
    assert {name: task.rival for name, task in TASKS.items()} == {
        "CartPole-v1": DQN,
        "Pendulum-v1": SAC,
        "Acrobot-v1": DQN,
        "MountainCarContinuous-v0": SAC,
        "LunarLander-v3": DQN,
    }


def test_the_table_has_the_mean_and_every_seed_of_what_was_run() -> None:
    runs = [
        {"task": "Pendulum-v1", "agent": "memagent", "seed": seed, "mean_return": mean, "updates": updates}
        for seed, mean, updates in ((1, -150.0, 20), (0, -250.0, 10))
    ]
    assert table(runs).splitlines()[2:] == ["| Pendulum-v1 | memagent | 20,000 | -200 | -250, -150 | 15 |"]
