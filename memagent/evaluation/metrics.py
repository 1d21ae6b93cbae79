"""Scores of agents whose task drifts: one pure function per metric, each with its formula and source.

a[i, j] is the score on context j at the end of training phase i, NaN where it was not taken: N phases by C contexts,
of which `trained` names the one that each phase trained, −1 where that is none of the C. Where contexts return, there
are fewer contexts than phases. Arrays are NumPy, steps and episodes are counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

SPLITS = ("train", "held_out")
SPLIT_NAMES = {"train": "training contexts", "held_out": "held-out contexts"}


def normalised_score(returns: ArrayLike, random: ArrayLike, oracle: ArrayLike) -> NDArray:
    """(R - R_random) / (R_oracle - R_random), elementwise: returns may be negative, such scores compare."""
    returns, random, oracle = (np.asarray(x, dtype=np.float64) for x in (returns, random, oracle))
    if not (oracle > random).all():
        raise ValueError(
            "The oracle's return must be above the random agent's everywhere; check both references."
        )
    return (returns - random) / (oracle - random)


# Transfer and forgetting


def forgetting(scores: ArrayLike, trained: ArrayLike) -> float | None:
    """mean_j (max_{first(j)<=i<N} a[i, j] - a[N, j]): what was lost since each context's best, from its first phase on.

    Chaudhry et al. 2018, eq. 3. The context of the last phase, which there was no time to forget, is left out, and what
    was not scored; None where nothing is left. Negative where contexts got better.
    """
    a, trained = _matrix(scores, trained)
    lost = []
    for j in _earlier(trained):
        seen = a[int(np.flatnonzero(trained == j)[0]) : -1, j]
        if not np.isnan(seen).all():
            lost.append(np.nanmax(seen) - a[-1, j])
    return _mean(lost)


def backward_transfer(scores: ArrayLike, trained: ArrayLike) -> float | None:
    """mean_j (a[N, j] - a[last(j), j]): what training other contexts did to those trained before.

    Lopez-Paz and Ranzato 2017, BWT; last(j) is the newest phase that trained context j. Contexts are left out as in
    `forgetting`.
    """
    a, trained = _matrix(scores, trained)
    return _mean([a[-1, j] - a[int(np.flatnonzero(trained == j)[-1]), j] for j in _earlier(trained)])


def forward_transfer(scores: ArrayLike, trained: ArrayLike, random: ArrayLike) -> float | None:
    """mean_j (a[first(j) - 1, j] - b_j): what a context gives just before it is trained, above random actions b [C].

    Lopez-Paz and Ranzato 2017, FWT, with random actions in place of an untrained learner. The context of the first
    phase is left out, and what was not scored; None where nothing is left.
    """
    a, trained = _matrix(scores, trained)
    b = np.asarray(random, dtype=np.float64)
    first = {int(j): int(np.flatnonzero(trained == j)[0]) for j in np.unique(trained[trained >= 0])}
    return _mean([a[i - 1, j] - b[j] for j, i in first.items() if i])


def _matrix(scores: ArrayLike, trained: ArrayLike) -> tuple[NDArray, NDArray]:
    """The scores [N, C] and the context [N] that each phase trained, −1: none of these."""
    a, contexts = np.asarray(scores, dtype=np.float64), np.asarray(trained, dtype=np.int64)
    if a.ndim != 2 or contexts.shape != a.shape[:1] or not len(a) or (contexts >= a.shape[1]).any():
        raise ValueError(
            f"Scores have shape {a.shape} and trained contexts {contexts.shape}; give scores [N, C], phase by context, "
            "and for each of the N phases the number of its context, below C."
        )
    return a, contexts


def _earlier(trained: NDArray) -> list[int]:
    """The contexts that phases before the last one trained, without that of the last."""
    return [int(j) for j in np.unique(trained[:-1]) if j not in (-1, trained[-1])]


def _mean(values: Sequence[float]) -> float | None:
    """The mean of those that are numbers; None where there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None


# The training stream


def steps_to_threshold(
    steps: ArrayLike, returns: ArrayLike, threshold: float, window: int = 20
) -> int | None:
    """The step at which the mean return of the newest `window` episodes first reaches a threshold; None: it never does.

    Steps and returns are [T], one per episode, in the order in which they ended.
    """
    returns = np.asarray(returns, dtype=np.float64)
    if returns.size < window:
        return None
    means = np.convolve(returns, np.ones(window), "valid") / window
    (reached,) = np.nonzero(means >= threshold)
    return int(np.asarray(steps)[reached[0] + window - 1]) if reached.size else None


# The stream after a change


class Recovery(NamedTuple):
    """Steps from each change to recovery [K]; a censored one [K] holds its phase's length, a lower bound."""

    steps: NDArray
    censored: NDArray

    @property
    def censored_share(self) -> float:
        return float(self.censored.mean())


def recovery_time(
    scores: ArrayLike,
    changes: Sequence[int],
    random: ArrayLike,
    oracle: ArrayLike,
    *,
    window: int,
    share: float = 0.9,
) -> Recovery:
    """The first t with mean(scores over the last `window` steps) >= random + share (oracle - random), per change.

    The window lies wholly after the change, so t >= window; a phase ends at the next change, the last one with the
    stream. For changes *within* an episode: where memory is reset per episode, one at its end is an ordinary start.

    Args:
        scores: [T], one number a step, such as the reward.
        changes: [K] indices of the first step of each new phase, rising.
        random, oracle: references for one such number, for all changes or [K].
        window: steps averaged.
        share: of the way from random to the oracle that counts as recovered.
    """
    if window < 1:
        raise ValueError(f"window is {window}; give 1 step or more.")
    scores, bounds = _stream(scores, changes)
    threshold = np.broadcast_to(random + share * (np.asarray(oracle) - np.asarray(random)), len(bounds) - 1)
    steps, censored = [], []
    for start, end, least in zip(bounds[:-1], bounds[1:], threshold, strict=True):
        sums = np.concatenate([[0.0], scores[start:end].cumsum()])
        (reached,) = np.nonzero((sums[window:] - sums[:-window]) / window >= least)
        steps.append(window + reached[0] if reached.size else end - start)
        censored.append(not reached.size)
    return Recovery(np.array(steps, dtype=np.int64), np.array(censored, dtype=bool))


class Resumption(NamedTuple):
    """Per return of an old context [K]: its id, its first episode's return, and the best it had known."""

    context: NDArray
    first: NDArray
    best: NDArray


def resumption(returns: ArrayLike, contexts: ArrayLike, window: int = 10) -> Resumption:
    """What the first episode after an old context's return gives, beside the best mean of `window` episodes before.

    The best is the highest mean of `window` consecutive episodes of that context over all its earlier visits, laid end
    to end (of all of them where they are fewer). Returns and context ids are [T], one per episode.
    """
    returns, contexts = np.asarray(returns, dtype=np.float64), np.asarray(contexts)
    (starts,) = np.nonzero(np.diff(contexts))
    found = []
    for first in starts + 1:
        earlier = returns[:first][contexts[:first] == contexts[first]]
        if earlier.size:
            width = min(window, earlier.size)
            best = np.convolve(earlier, np.full(width, 1 / width), "valid").max()
            found.append((contexts[first], returns[first], best))
    context, first_return, best = zip(*found, strict=True) if found else ((), (), ())
    return Resumption(np.array(context, dtype=np.int64), np.array(first_return), np.array(best))


# Records of an evaluation: `contexts` of evaluation.json


def context_means(records: Sequence[Mapping[str, Any]], split: str, adapted: bool) -> dict[int, float]:
    """Mean return by context id, in the ids' order, of one split and one kind of play; runs are averaged."""
    chosen: dict[int, list[float]] = {}
    for record in records:
        if (record["split"], record["adapted"]) == (split, adapted):
            chosen.setdefault(record["context_id"], []).append(record["mean_return"])
    return {context: float(np.mean(means)) for context, means in sorted(chosen.items())}


def adaptation_gain(records: Sequence[Mapping[str, Any]], split: str) -> NDArray:
    """Score with adaptation - score of the same weights unadapted [C], of the contexts played both ways, by id."""
    adapted, unadapted = (context_means(records, split, kind) for kind in (True, False))
    return np.array([adapted[c] - unadapted[c] for c in adapted if c in unadapted])


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """`summary` of evaluation.json: the mean over contexts per split, adapted and unadapted; None: not played."""

    def overall(split: str, adapted: bool) -> float | None:
        means = list(context_means(records, split, adapted).values())
        return float(np.mean(means)) if means else None

    return {split: {"adapted": overall(split, True), "unadapted": overall(split, False)} for split in SPLITS}


def _stream(scores: ArrayLike, changes: Sequence[int]) -> tuple[NDArray, NDArray]:
    """The scores [T], and where phases begin and end after the first change [K + 1]."""
    scores = np.asarray(scores, dtype=np.float64)
    bounds = np.array([*changes, scores.size], dtype=np.int64)
    if bounds[0] < 1 or (np.diff(bounds) < 1).any():
        raise ValueError(f"Changes must rise and lie within 1 … {scores.size - 1}; got {list(changes)}.")
    return scores, bounds
