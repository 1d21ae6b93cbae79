"""The memory in Stable-Baselines3's own PPO, as the features extractor of a window of eight observations.

python examples/memory_in_ppo.py            100,000 steps
python examples/memory_in_ppo.py 500        fewer, for a try
"""

import sys

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

import envs
from memagent import MemoryConfig, MemoryExtractor
from memagent.layout import start_index

STACKED = 8


def make(seed: int) -> VecEnv:
    """Drifting CartPole in four environments, with its last eight observations side by side."""
    return VecFrameStack(envs.make_vec("Drift/CartPole-v0", num_envs=4, seed=seed), STACKED)


def main(steps: int) -> None:
    """Train and judge; the memory is empty at the start of each window."""
    env = make(0)
    extractor = {
        "features_dim": 64,
        "memory": MemoryConfig(memory_size=16, memory_dim=16, num_read_heads=1, hidden_size=64),
        "num_stack": STACKED,
        "start_index": start_index(env),  # an episode that begins within the window empties the memory
    }
    policy = {"features_extractor_class": MemoryExtractor, "features_extractor_kwargs": extractor}
    agent = PPO("MlpPolicy", env, n_steps=128, policy_kwargs=policy, seed=0)
    agent.learn(steps)
    mean, spread = evaluate_policy(agent, make(1), n_eval_episodes=8)
    print(f"return {mean:.0f}, standard deviation {spread:.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
