"""A saved agent in a plant of its own: `predict` in a loop, one observation at a time, without a vector environment.

python examples/train_and_evaluate.py                  saves agent.zip
python examples/deploy.py agent.zip
"""

import sys
from pathlib import Path

import gymnasium as gym

import envs  # noqa: F401 registers the ids
from memagent import MemoryDQN


def main(path: Path, steps: int = 2_000) -> None:
    """Act for some steps; print the return of every episode."""
    agent = MemoryDQN.load(path)  # tensors and JSON: no code of the file is run
    plant = gym.make("Drift/CartPole-v0", schedule="random", phase_steps=500, change_at="step", seed=7)
    (obs, _), state, start, gained = plant.reset(), None, [True], 0.0
    for step in range(steps):
        # The state holds memory and belief. What the last action did is read off the observation.
        action, state = agent.predict(obs, state, start, deterministic=True)
        obs, reward, terminated, truncated, _ = plant.step(int(action))
        gained += float(reward)
        start = [terminated or truncated]
        if start[0]:
            print(f"step {step:5d}: an episode ended with a return of {gained:.0f}")
            (obs, _), gained = plant.reset(), 0.0


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
