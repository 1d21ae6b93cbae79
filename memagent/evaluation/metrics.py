"""Scores of agents whose task drifts: one pure function per metric, each with its formula and source.

a[i, j] is the score on context j after training phase i, for N phases that train contexts 0 … N-1 in turn, normalised
(`normalised_score`) so that 0 is a random agent and 1 the oracle: the same learner told the context. Arrays are NumPy,
steps and episodes are counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
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


def average_performance(scores: ArrayLike) -> float:
    """(1/N) sum_j a[N, j]: the mean score over contexts at the end (Lopez-Paz and Ranzato 2017, ACC)."""
    return float(_square(scores)[-1].mean())


def forgetting(scores: ArrayLike) -> float:
    """(1/(N-1)) sum_{j<N} (max_{j<=i<N} a[i, j] - a[N, j]): what was lost since each context's best.

    Chaudhry et al. 2018, eq. 3, with the maximum from phase j on. Negative where contexts got better.
    """
    a = _square(scores, least=2)
    return float(np.mean([a[j:-1, j].max() - a[-1, j] for j in range(len(a) - 1)]))


def forgetting_since_trained(scores: ArrayLike) -> float:
    """(1/(N-1)) sum_{j<N} (a[j, j] - a[N, j]): what was lost since each context's own phase.

    The form of Continual World (Wolczyk et al. 2021); the last context, which has had no time to be forgotten, is
    left out. It is minus the backward transfer.
    """
    return -backward_transfer(scores)


def backward_transfer(scores: ArrayLike) -> float:
    """(1/(N-1)) sum_{j<N} (a[N, j] - a[j, j]) (Lopez-Paz and Ranzato 2017, BWT)."""
    a = _square(scores, least=2)
    return float((a[-1] - a.diagonal())[:-1].mean())


def forward_transfer(auc: ArrayLike, auc_scratch: ArrayLike) -> NDArray:
    """(AUC_j - AUC_j,scratch) / (1 - AUC_j,scratch) per phase [N] (Wolczyk et al. 2021, Continual World).

    AUC_j is the mean normalised score while phase j trained, AUC_j,scratch that of the same learner trained on
    context j alone from its initial weights.
    """
    auc, scratch = np.asarray(auc, dtype=np.float64), np.asarray(auc_scratch, dtype=np.float64)
    if not (scratch < 1).all():
        raise ValueError(
            "A learner from scratch has a mean score of 1 or more: no transfer can be measured there."
        )
    return (auc - scratch) / (1 - scratch)


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
    means = np.convolve(returns, np.full(window, 1 / window), "valid")
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


def retention(scores: ArrayLike, changes: Sequence[int], episodes: int) -> NDArray:
    """Mean over the first m episodes after each change over the mean of the last m before [K]; 1 - it is the drop.

    Scores [T] are of episodes, normalised: a ratio of raw returns means nothing where they may be negative. Phases
    shorter than m episodes give what they have.
    """
    scores, bounds = _stream(scores, changes)
    starts = np.concatenate([[0], bounds[:-1]])
    after = [scores[b : min(b + episodes, e)].mean() for b, e in pairwise(bounds)]
    before = [scores[max(b - episodes, s) : b].mean() for s, b in zip(starts[:-1], bounds[:-1], strict=True)]
    return np.array(after) / np.array(before)


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


def dynamic_regret(rewards: ArrayLike, oracle: ArrayLike) -> float:
    """sum_t (R*_context(t) - R_t): what the oracle named would have had more, each step in the context of that step."""
    return float(np.sum(np.asarray(oracle, dtype=np.float64) - np.asarray(rewards, dtype=np.float64)))


# Plasticity


def plasticity_slope(auc: ArrayLike) -> float:
    """Least-squares slope of the mean score of each phase over the phases [N]; below 0: it learns ever worse."""
    auc = np.asarray(auc, dtype=np.float64)
    if auc.size < 2:
        raise ValueError(f"A slope over {auc.size} phase is not defined; give two phases or more.")
    return float(np.polyfit(np.arange(auc.size), auc, 1)[0])


def dormant_share(activations: ArrayLike, threshold: float = 0.025) -> float:
    """Share of units with E|h_i| / mean_k E|h_k| <= threshold, of activations [samples, units].

    Sokar et al. 2023, https://arxiv.org/abs/2302.12902, definition 3.1. A layer that is silent altogether is dormant.
    """
    size = np.abs(np.asarray(activations, dtype=np.float64)).mean(0)
    return float((size <= threshold * size.mean()).mean())


def effective_rank(features: ArrayLike) -> float:
    """exp(-sum_k p_k log p_k), p the singular values of [samples, features] divided by their sum.

    Roy and Vetterli 2007, The Effective Rank, definition 1: from 1 up to the number of features; 0 for a zero matrix.
    """
    singular = np.linalg.svd(np.asarray(features, dtype=np.float64), compute_uv=False)
    if not singular.any():
        return 0.0
    p = singular[singular > 0] / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


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


def _square(scores: ArrayLike, least: int = 1) -> NDArray:
    a = np.asarray(scores, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or len(a) < least:
        raise ValueError(
            f"Scores have shape {a.shape}; give [N, N], phase by context, with N at least {least}."
        )
    return a


def _stream(scores: ArrayLike, changes: Sequence[int]) -> tuple[NDArray, NDArray]:
    """The scores [T], and where phases begin and end after the first change [K + 1]."""
    scores = np.asarray(scores, dtype=np.float64)
    bounds = np.array([*changes, scores.size], dtype=np.int64)
    if bounds[0] < 1 or (np.diff(bounds) < 1).any():
        raise ValueError(f"Changes must rise and lie within 1 … {scores.size - 1}; got {list(changes)}.")
    return scores, bounds
