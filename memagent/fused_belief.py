"""The bookkeeping of `memagent.belief`, compiled: a few hundred numbers in dozens of small arrays at every step."""

import numpy as np

from envs.compiling import compiled


@compiled()
def add_steps(obs, past_obs, past_action, past_happened, length, action, happened, goes_on):
    """Add the step from obs [E, O] to each stream's last ones, or empty them where the episode does not go on."""
    for e in range(goes_on.size):
        if not goes_on[e]:
            past_obs[e] = 0.0
            past_action[e] = 0.0
            past_happened[e] = 0.0
            length[e] = 0
    push(past_obs, obs, goes_on)
    push(past_action, action, goes_on)
    push(past_happened, happened, goes_on)
    length += goes_on


@compiled()
def newest_runs(past_obs, past_action, past_happened, length, goes_on, k, h):
    """The runs of k steps that the newest step ends.

    Returns:
        Inputs [E, O + k A + h (C + A)], mean outcome [E, D], and which are whole, [E].
    """
    E, O, A, D = length.size, past_obs.shape[2], past_action.shape[2], past_happened.shape[2]  # noqa: E741
    C = D - 1
    inputs = np.zeros((E, O + k * A + h * (C + A)), np.float32)
    outcome = np.zeros((E, D), np.float32)
    whole = goes_on & (length >= k)
    for e in range(E):
        if not whole[e]:
            continue
        inputs[e, :O] = past_obs[e, k - 1]
        at = O
        for i in range(k):
            inputs[e, at : at + A] = past_action[e, k - 1 - i]
            at += A
            for j in range(D):
                outcome[e, j] += past_happened[e, k - 1 - i, j]
        for j in range(D):
            outcome[e, j] /= np.float32(k)
        for i in range(h):
            inputs[e, at : at + C] = past_happened[e, k + i, :C]
            at += C
        for i in range(h):
            inputs[e, at : at + A] = past_action[e, k + i]
            at += A
    return inputs, outcome, whole


@compiled()
def push(rows, newest, which):
    """Put the newest [E, D] in front of rows [E, R, D], and drop the last, where `which` [E] says so."""
    for e in range(which.size):
        if not which[e]:
            continue
        for i in range(rows.shape[1] - 1, 0, -1):
            rows[e, i] = rows[e, i - 1]
        if rows.shape[1]:
            rows[e, 0] = newest[e]


@compiled()
def keep_runs(run, outcome, which, inputs, outcomes, count, newest):
    """Keep the runs [E, I] and [E, D] of some streams: of each phase the newest S, or a uniform sample.

    The sample is drawn by algorithm R (Vitter 1985); its draws are a hash of the run's number (Steele et al. 2014,
    SplitMix64): a function of the stream.
    """
    size = inputs.shape[1]
    for e in range(count.size):
        if not which[e]:
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
def accumulate(ratio, goes_on, memory, score, peak, pending):
    """Add the evidence [E] of the steps to the share `memory` of the scores; the peaks [E] of those back at 0."""
    peaks = np.zeros_like(peak)
    for e in range(score.size):
        if not goes_on[e]:
            continue
        score[e] = max(np.float32(0.0), np.float32(memory * score[e] + ratio[e]))
        if score[e] > 0:
            pending[e] += 1
            peak[e] = max(peak[e], score[e])
        else:
            pending[e] = 0
            peaks[e] = peak[e]
            peak[e] = np.float32(0.0)
    return peaks
