"""The bookkeeping of `memagent.belief`, compiled: a few hundred numbers in dozens of small arrays at every step."""

import numpy as np

from envs.compiling import compiled


@compiled()
def add_steps(obs, steps_obs, steps_action, steps_happened, length, action, happened, goes_on):
    """Put the step from obs [E, O] into each stream's ring of its last k, or empty it where the episode does not go on.

    Returns:
        The runs of the last k steps: inputs [E, O + k A], mean outcome [E, D], and which are whole, [E].
    """
    E, k, A = steps_action.shape
    O, D = obs.shape[1], happened.shape[1]  # noqa: E741
    run = np.zeros((E, O + k * A), np.float32)
    outcome = np.zeros((E, D), np.float32)
    whole = np.zeros(E, np.bool_)
    for e in range(E):
        if not goes_on[e]:
            length[e] = 0
            continue
        place = length[e] % k
        steps_obs[e, place] = obs[e]
        steps_action[e, place] = action[e]
        steps_happened[e, place] = happened[e]
        length[e] += 1
        if length[e] < k:
            continue
        whole[e] = True
        oldest = length[e] % k
        run[e, :O] = steps_obs[e, oldest]
        for i in range(k):
            at = (oldest + i) % k
            run[e, O + i * A : O + (i + 1) * A] = steps_action[e, at]
            for j in range(D):
                outcome[e, j] += steps_happened[e, at, j]
        for j in range(D):
            outcome[e, j] /= np.float32(k)
    return run, outcome, whole


@compiled()
def keep_runs(run, outcome, whole, inputs, outcomes, count, newest):
    """Keep the whole runs: of each phase the newest S, or a uniform sample (Vitter 1985, algorithm R).

    The sample's draws are a hash of the run's number (Steele et al. 2014, SplitMix64): a function of the stream.
    """
    size = inputs.shape[1]
    for e in range(count.size):
        if not whole[e]:
            continue
        seen = count[e]
        place = seen
        if newest:
            place = seen % size
        elif seen >= size:
            place = np.int64(_hash(np.uint64(seen)) % np.uint64(seen + 1))
        count[e] += 1
        if place < size:
            inputs[e, place] = run[e]
            outcomes[e, place] = outcome[e]


@compiled()
def _hash(x):
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled()
def accumulate(ratio, whole, score, peak, pending):
    """Add the evidence [E] of the whole runs to the scores; the peaks [E] of those that are back at 0."""
    peaks = np.zeros_like(peak)
    for e in range(score.size):
        if not whole[e]:
            continue
        score[e] = max(np.float32(0.0), score[e] + ratio[e])
        if score[e] > 0:
            pending[e] += 1
            peak[e] = max(peak[e], score[e])
        else:
            pending[e] = 0
            peaks[e] = peak[e]
            peak[e] = np.float32(0.0)
    return peaks
