"""What acting remembers of the present phase of E environments: runs of k steps, a bounded number of them."""

from __future__ import annotations

import numpy as np
import torch

from memagent.dynamics import Outcomes


class PhaseRuns:
    """The runs of k steps of each environment's present phase, from any of its episodes.

    At most `size` runs are kept: a uniform sample of the phase (Vitter 1985, Random Sampling with a Reservoir,
    algorithm R), or the newest.

    Args:
        num_envs: E.
        steps: k.
        size: S.
        obs_dim, action_dim, outcome_dim: O, A and C + 1.
        newest: keep the newest runs in place of a sample.
    """

    def __init__(
        self,
        num_envs: int,
        steps: int,
        size: int,
        obs_dim: int,
        action_dim: int,
        outcome_dim: int,
        newest: bool = False,
    ) -> None:
        self.steps, self.size, self.newest = steps, size, newest
        self.count = np.zeros(num_envs, np.int64)  # runs of the phase so far, kept or not
        self._inputs = np.zeros((num_envs, size, obs_dim + steps * action_dim), np.float32)
        self._outcome = np.zeros((num_envs, size, outcome_dim), np.float32)
        # The last k steps, in rings; `_length` counts the steps since the episode or the phase began.
        self._length = np.zeros(num_envs, np.int64)
        self._obs = np.zeros((num_envs, steps, obs_dim), np.float32)
        self._action = np.zeros((num_envs, steps, action_dim), np.float32)
        self._happened = np.zeros((num_envs, steps, outcome_dim), np.float32)
        self._random = np.random.default_rng(0)

    def add(self, envs: np.ndarray, obs: np.ndarray, action: np.ndarray, happened: np.ndarray) -> None:
        """A step of each of `envs` [n]: obs [n, O], action [n, A], change and reward [n, C + 1]."""
        place = self._length[envs] % self.steps
        self._obs[envs, place] = obs
        self._action[envs, place] = action
        self._happened[envs, place] = happened
        self._length[envs] += 1
        complete = self._length[envs] >= self.steps
        if complete.any():
            self._keep(envs[complete])

    def _keep(self, envs: np.ndarray) -> None:
        """The run that ends with the newest step of each of `envs`."""
        place = self._place(self.count[envs])
        self.count[envs] += 1
        kept = place < self.size
        if not kept.any():
            return
        envs, place = envs[kept], place[kept]
        oldest = self._length[envs] % self.steps
        order = (oldest[:, None] + np.arange(self.steps)) % self.steps
        actions = self._action[envs[:, None], order].reshape(len(envs), -1)
        self._inputs[envs, place] = np.concatenate((self._obs[envs, oldest], actions), -1)
        self._outcome[envs, place] = self._happened[envs].mean(1)

    def _place(self, seen: np.ndarray) -> np.ndarray:
        """Where run number `seen` [n] of a phase goes; `size` or more: nowhere."""
        if self.newest:
            return seen % self.size
        return np.where(seen < self.size, seen, self._random.integers(0, seen + 1))

    def end_episode(self, envs: np.ndarray) -> None:
        """No run reaches from the steps so far into those to come."""
        self._length[envs] = 0

    def forget(self, envs: np.ndarray) -> None:
        """A new phase: nothing of the old one stays."""
        self.count[envs] = self._length[envs] = 0

    def outcomes(self, envs: np.ndarray, device: torch.device) -> Outcomes:
        """The runs kept of each of `envs` [n], [n, S', ...], with S' the most that any of them has."""
        held = np.minimum(self.count[envs], self.size)
        most = max(1, int(held.max()))
        arrays = (
            self._inputs[envs, :most],
            self._outcome[envs, :most],
            np.arange(most) < held[:, None],
        )
        return Outcomes(*(torch.from_numpy(x).to(device) for x in arrays))
