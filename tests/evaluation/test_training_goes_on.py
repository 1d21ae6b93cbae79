"""A training that is judged in its middle goes on as if nobody had looked: agent, clocks, generators, to the bit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import envs
from evaluate import choose_contexts, evaluate, hold, make_env
from memagent import randomness
from memagent.agents import AdaptConfig, LearnerConfig
from memagent.evaluation.players import PredictPlayer
from memagent.evaluation.protocol import Context, play_contexts
from memagent.memory import MemoryConfig
from memagent.replay import ReplayConfig
from memagent.run_config import EvaluationConfig, RunConfig
from memagent.runs import make_agent

EVALUATION = EvaluationConfig(contexts=2, episodes=1, warmup_episodes=1)
CONFIG = RunConfig(
    total_timesteps=510,
    num_envs=2,
    phase_steps=60,
    memory=MemoryConfig(kind="gru", hidden_size=16),
    replay=ReplayConfig(capacity=1_200, burn_in=2, rows=8, stride=4, n_step=2),
    learner=LearnerConfig(batch_size=4, learning_starts=100, steps_per_update=32),
    adapt=AdaptConfig(context_dim=3, steps_ahead=3, train_support=6, support=8, young=4),
    evaluation=EVALUATION,
)
PENDULUM = replace(CONFIG, env="Drift/Pendulum-v0", memory=MemoryConfig(kind="lstm", hidden_size=16))
CONFIGS = [CONFIG, PENDULUM]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.env)
def test_judging_leaves_our_training_as_it_was(tmp_path: Path, config: RunConfig) -> None:
    def train(judged: bool) -> list[dict[str, bytes]]:
        """The files of checkpoints, which hold all state, before judging, after it and at the end."""
        agent = make_agent(config, make_env(config, config.num_envs, config.seed))
        learning, states = agent.get_env(), []

        def keep() -> None:
            folder = tmp_path / f"{judged}-{len(states)}"
            agent.save_checkpoint(folder, {"env": envs.get_state(learning)}, mid_episode=True)
            states.append({path.name: path.read_bytes() for path in folder.iterdir()})

        agent.learn(310)
        assert agent._n_updates > 0
        keep()
        if judged:
            made = evaluate(agent, config, tmp_path, tmp_path / "out")
            assert {r["adapted"] for r in made["contexts"]} == {False, True}
        keep()
        agent.learn(200, reset_num_timesteps=False)
        keep()
        return states

    before, after, end = train(judged=True)
    assert after == before
    _, unjudged, unjudged_end = train(judged=False)
    assert (unjudged, unjudged_end) == (before, end)
    assert end != before


def test_judging_leaves_the_training_of_a_model_of_sb3_as_it_was() -> None:
    def train(judged: bool) -> tuple[dict, dict, dict]:
        env = envs.make_vec("Drift/CartPole-v0", 2, seed=0, phase_steps=60)
        model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
        model.learn(192)

        def held_env(contexts: Sequence[Context]) -> VecEnv:
            return hold(make_env(CONFIG, len(contexts), 0), contexts)

        if judged:
            state, generators = envs.get_state(env), randomness.get_state()
            play_contexts(
                choose_contexts(CONFIG), held_env, lambda n, _: PredictPlayer(model, n), settings=(False,)
            )
            assert same(envs.get_state(env), state) and randomness.get_state() == generators
        model.learn(128, reset_num_timesteps=False)
        return model.policy.state_dict(), envs.get_state(env), randomness.get_state()

    judged, alone = train(True), train(False)
    assert all(torch.equal(judged[0][name], alone[0][name]) for name in alone[0])
    assert same(judged[1], alone[1]) and judged[2] == alone[2]


def same(one: object, other: object) -> bool:
    """Whether two states of environments, of JSON's types, are equal to the bit."""
    return repr(one) == repr(other)
