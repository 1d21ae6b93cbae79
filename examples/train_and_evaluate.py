"""Train an agent that adapts in a drifting environment, and judge it with and without adaptation.

python examples/train_and_evaluate.py            60,000 steps
python examples/train_and_evaluate.py 5000       fewer, for a try
"""

import sys
from pathlib import Path

import numpy as np

import envs
from memagent import MemoryConfig, MemoryDQN, preset

ID = "Drift/CartPole-v0"


def train(steps: int) -> MemoryDQN:
    """An agent without memory, with the settings that the id comes with."""
    agent = MemoryDQN(
        "MemoryPolicy",
        envs.make_vec(ID, num_envs=16, seed=0),
        memory=MemoryConfig(kind="none"),
        **preset(ID),
        seed=0,
    )
    return agent.learn(steps, progress_bar=True)


def judge(agent: MemoryDQN, adapt: bool, contexts: int = 8, steps: int = 1_000) -> float:
    """Mean length of the episodes in held-out contexts that are held still, one in each environment."""
    env = envs.make_vec(ID, num_envs=contexts, seed=1)
    env.set_options([{"context": c, "frozen": True} for c in envs.contexts(ID, "held_out", contexts)])
    obs, state, start, ended = env.reset(), None, np.ones(contexts, bool), 0
    for _ in range(steps):
        action, state = agent.predict(obs, state, start, deterministic=True, adapt=adapt)
        obs, _, start, _ = env.step(action)
        ended += start.sum()
    return contexts * steps / max(ended, 1)


if __name__ == "__main__":
    trained = train(int(sys.argv[1]) if len(sys.argv) > 1 else 60_000)
    for adapt in (False, True):
        print(f"adapt={adapt!s:5}  mean steps of an episode: {judge(trained, adapt):.0f}")
    trained.save(Path("agent.zip"))
