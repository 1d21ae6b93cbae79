"""An environment of your own whose leak drifts, and an agent that is not told of it.

python examples/own_environment.py            5,000 steps
python examples/own_environment.py 500        fewer, for a try
"""

import sys

import gymnasium as gym
import numpy as np

from envs import Drift, DriftingEnv, TransitionObservation
from envs.plants import Plant, PlantParameter
from envs.schedules import Geometric, Uniform
from memagent import AdaptConfig, LearnerConfig, MemoryConfig, MemorySAC


class Tank(gym.Env):
    """Keep the level of a leaking tank at 1 by a valve."""

    observation_space = gym.spaces.Box(0.0, 10.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    leak, level = 0.1, 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level = 0.0
        return np.array([self.level], np.float32), {}

    def step(self, action):
        self.level = float(np.clip(self.level * (1.0 - self.leak) + 0.2 * (action[0] + 1.0), 0.0, 10.0))
        return np.array([self.level], np.float32), -abs(self.level - 1.0), False, False, {}


LEAK = PlantParameter(
    "1/step", "share that leaks", False, lambda e: e.leak, lambda e, v: setattr(e, "leak", v)
)
DRIFT = Drift.draws({"leak": Uniform(((0.05, 0.35),))}, Geometric(300), change_at="step")


def drifting(seed: int) -> gym.Env:
    """The tank, with a new leak every 300 steps in the mean."""
    env = DriftingEnv(Tank(), DRIFT, seed, plant=Plant({"leak": LEAK}, state=("level",)))
    return TransitionObservation(gym.wrappers.TimeLimit(env, 100))


def main(steps: int) -> None:
    """Train; `predict` then notices new leaks by itself, and so did the training."""
    learner = LearnerConfig(learning_starts=200, steps_per_update=8, batch_size=8, reward_scale=1.0)
    adapt, memory = AdaptConfig(steps_ahead=2, phase_signal="detect"), MemoryConfig(kind="none")
    agent = MemorySAC("MemoryPolicy", drifting(0), memory=memory, learner=learner, adapt=adapt, seed=0)
    agent.learn(steps, progress_bar=True)
    env = drifting(1)
    (obs, _), state, start = env.reset(), None, [True]
    for step in range(100):
        action, state = agent.predict(obs, state, start, deterministic=True)
        obs, _, _, _, info = env.step(action)
        start = [False]
        if step % 10 == 9:
            print(f"step {step + 1}: leak {info['context']['leak']:.2f}, level {obs[0]:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
