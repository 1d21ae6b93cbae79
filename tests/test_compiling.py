"""Where Numba has no place for its cache, or is told not to compile, everything runs still."""

import os
import subprocess
import sys

import pytest
from numba import njit

from envs.compiling import compiled

WITHOUT_JIT = """
import envs
from memagent import AdaptConfig, LearnerConfig, MemoryConfig, MemoryDQN, ReplayConfig
agent = MemoryDQN(
    "MemoryPolicy",
    envs.make_vec("Drift/CartPole-v0", 2, seed=0),
    memory=MemoryConfig(hidden_size=4, memory_size=3, memory_dim=4, num_read_heads=1),
    replay=ReplayConfig(capacity=200, burn_in=1, rows=6, stride=4, n_step=1),
    learner=LearnerConfig(learning_starts=20, batch_size=2, steps_per_update=16),
    adapt=AdaptConfig(train_support=4, support=4, young=4, steps_ahead=2),
    seed=0,
)
agent.learn(40)
print(agent.policy.features_extractor.memory.backend, agent._n_updates)
"""


def test_what_cannot_be_kept_on_disk_is_compiled_all_the_same() -> None:
    """A function of no file has no place for a cache, like one in a read-only installation of a user without a home."""
    made: dict = {}
    exec("def twice(x):\n    return 2 * x", made)
    with pytest.raises(RuntimeError, match="no locator available"):
        njit(cache=True)(made["twice"])
    twice = compiled()(made["twice"])
    assert twice(3) == 6
    assert twice.signatures


def test_an_agent_learns_where_numba_is_told_not_to_compile() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JIT],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["reference", "2"]), done.stderr[-2000:]
