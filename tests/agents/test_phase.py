"""What acting keeps of a phase, against lists: steps are numbered, so every run is arithmetic."""

from typing import Any

import numpy as np
import pytest
import torch

from memagent.agents.phase import PhaseRuns

E, STEPS = 4, 3
CPU = torch.device("cpu")


def make(size: int, newest: bool = False, num_envs: int = E, steps: int = STEPS) -> PhaseRuns:
    return PhaseRuns(num_envs, steps, size, obs_dim=2, action_dim=1, outcome_dim=2, newest=newest)


def add(runs: PhaseRuns, envs: np.ndarray, number: np.ndarray) -> None:
    """Step `number` of each of `envs`: observation (environment, number), action 10 number, outcome (number², 1)."""
    runs.add(
        envs,
        np.stack((envs, number), -1),
        10.0 * number[:, None],
        np.stack((number**2, np.ones_like(number)), -1),
    )


def run_from(env: int, first: int, steps: int = STEPS) -> list[float]:
    """Inputs and outcome of the run whose first step is number `first`."""
    numbers = range(first, first + steps)
    return [env, first, *(10.0 * n for n in numbers), np.float32(np.mean([n**2 for n in numbers])), 1.0]


def kept(runs: PhaseRuns, envs: list[int]) -> list[list[list[float]]]:
    """The runs kept of each of `envs`, in the order of their first steps."""
    outcomes = runs.outcomes(np.array(envs), CPU)
    rows = torch.cat((outcomes.inputs, outcomes.outcome), -1)
    return [sorted(rows[i, outcomes.mask[i]].tolist()) for i in range(len(envs))]


class Lists:
    """The oracle: the first steps of all runs of each environment's phase."""

    def __init__(self) -> None:
        self.unbroken = [[] for _ in range(E)]  # numbers of the steps since the episode or the phase began
        self.firsts = [[] for _ in range(E)]

    def add(self, env: int, number: int) -> None:
        self.unbroken[env].append(number)
        if len(self.unbroken[env]) >= STEPS:
            self.firsts[env].append(self.unbroken[env][-STEPS])


def lived(seed: int, **settings: Any) -> tuple[PhaseRuns, Lists]:
    """A life of E environments out of step: some do a step, episodes end, phases begin."""
    rng, runs, lists = np.random.default_rng(seed), make(**settings), Lists()
    number = np.zeros(E, np.int64)
    for _ in range(120):
        envs = np.flatnonzero(rng.random(E) < 0.8)
        if envs.size:
            add(runs, envs, number[envs])
        for env in envs:
            lists.add(env, number[env])
        number[envs] += 1
        over, new = np.flatnonzero(rng.random(E) < 0.12), np.flatnonzero(rng.random(E) < 0.02)
        runs.end_episode(over)
        runs.forget(new)
        for env in (*over, *new):
            lists.unbroken[env] = []
        for env in new:
            lists.firsts[env] = []
    return runs, lists


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_runs_of_the_present_phase_are_kept_and_none_crosses_an_end(seed: int) -> None:
    runs, lists = lived(seed, size=200)
    expected = [[run_from(env, first) for first in lists.firsts[env]] for env in range(E)]
    assert min(map(len, expected)) < max(map(len, expected)) < 120  # phases of different ages
    assert runs.count.tolist() == [len(part) for part in expected]
    assert kept(runs, [0, 1, 2, 3]) == expected
    assert kept(runs, [2, 0]) == [expected[2], expected[0]]


@pytest.mark.parametrize("seed", range(5))
def test_of_many_runs_a_sample_is_kept_or_the_newest(seed: int) -> None:
    size = 6
    sample, lists = lived(seed, size=size)
    newest, _ = lived(seed, size=size, newest=True)
    assert max(map(len, lists.firsts)) > 3 * size
    for env in range(E):
        everything = [run_from(env, first) for first in lists.firsts[env]]
        (some,), (last,) = kept(sample, [env]), kept(newest, [env])
        assert last == everything[-size:]
        assert len(some) == min(size, len(everything)) == len({tuple(run) for run in some})
        assert all(run in everything for run in some)


def test_every_run_is_as_likely_to_be_kept_as_every_other() -> None:
    """Five of 25 are kept in each of 4,000 environments: each run in a fifth of them, give or take 25 = one sigma."""
    envs, size, total = np.arange(4_000), 5, 25
    runs = make(size, num_envs=len(envs), steps=1)
    for number in range(total):
        add(runs, envs, np.full(len(envs), number))
    outcomes = runs.outcomes(envs, CPU)
    assert outcomes.mask.all() and outcomes.mask.shape == (4_000, size)
    times = np.bincount(outcomes.inputs[..., 1].flatten().int().numpy(), minlength=total)
    assert np.abs(times - 800).max() < 4.5 * 25.3


def test_environments_draw_for_themselves() -> None:
    runs = make(size=3, steps=1)
    for number in range(40):
        add(runs, np.arange(E), np.full(E, number))
    firsts = {tuple(run[1] for run in runs) for runs in kept(runs, [0, 1, 2, 3])}
    assert len(firsts) == E


def test_an_environment_without_runs_has_rows_that_do_not_count() -> None:
    runs = make(size=5)
    none = runs.outcomes(np.array([1, 3]), CPU)
    assert none.mask.shape == (2, 1) and not none.mask.any()
    for number in range(4):
        add(runs, np.array([3]), np.array([number]))
    some = runs.outcomes(np.array([1, 3]), CPU)
    assert some.mask.tolist() == [[False, False], [True, True]]
    runs.forget(np.array([3]))
    assert not runs.outcomes(np.array([3]), CPU).mask.any()
