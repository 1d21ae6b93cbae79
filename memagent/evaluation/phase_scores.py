"""Scores that were taken while an agent trained: of the contexts it had seen so far, at the ends of its phases.

As a file, `phase_scores.json`, and as the matrix and the metrics that follow from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memagent.evaluation.metrics import (
    backward_transfer,
    forgetting,
    forward_transfer,
)


@dataclass
class Seen:
    """A context of the training: its values, and what random actions get in it; None: not played yet."""

    context_id: int
    context: dict[str, float]
    random: float | None = None


@dataclass
class Scored:
    """One evaluation: the scores of the first contexts, as many as had been seen."""

    step: int
    phase: int  # number of the phase, from 0
    ended: bool  # whether it was taken at the end of that phase, or of the training
    scores: list[float]


@dataclass
class PhaseScores:
    """All evaluations of a training so far.

    Attributes:
        contexts: in the order in which they were first seen.
        phases: for each phase that has begun, which of `contexts` it trains; −1: one that is not followed.
        evaluations: in the order in which they were made.
        best: the number of the evaluation whose agent is kept, −1 before the first.
    """

    contexts: list[Seen] = field(default_factory=list)
    phases: list[int] = field(default_factory=list)
    evaluations: list[Scored] = field(default_factory=list)
    best: int = -1

    def add(self, scored: Scored) -> bool:
        """Take in an evaluation; whether its agent is the best so far.

        It is where it scores at least as much as the best one before, as a mean over the contexts that both were scored
        on: contexts differ in what can be had in them, and more of them are seen as the training goes on.
        """
        self.evaluations.append(scored)
        if self.best >= 0:
            held = self.evaluations[self.best].scores
            if np.mean(scored.scores[: len(held)]) < np.mean(held):
                return False
        self.best = len(self.evaluations) - 1
        return True

    def trained(self, scored: Scored) -> list[int]:
        """The contexts that had been trained by then, among those followed."""
        return sorted({place for place in self.phases[: scored.phase + 1] if place >= 0})

    def mean(self, scored: Scored) -> float:
        """The mean score of an evaluation over the contexts that had been trained; over all where none had."""
        places = self.trained(scored) or range(len(scored.scores))
        return float(np.mean([scored.scores[place] for place in places]))

    def matrix(self) -> tuple[NDArray, NDArray]:
        """a [N, C], the score on context j at the end of phase i, and the context that each phase trained [N]."""
        ends = [scored for scored in self.evaluations if scored.ended]
        count = max((scored.phase + 1 for scored in ends), default=0)
        a = np.full((count, len(self.contexts)), np.nan)
        for scored in ends:
            a[scored.phase, : len(scored.scores)] = scored.scores
        return a, np.array(self.phases[:count], dtype=np.int64)

    def transfer(self) -> dict[str, float | None]:
        """Forgetting and transfer; None: not defined by what was scored so far."""
        a, trained = self.matrix()
        if not len(a):
            return {}
        random = [np.nan if seen.random is None else seen.random for seen in self.contexts]
        return {
            "forgetting": forgetting(a, trained),
            "backward_transfer": backward_transfer(a, trained),
            "forward_transfer": forward_transfer(a, trained, random),
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON's types, with what follows from it for who reads the file."""
        a, _ = self.matrix()
        matrix = [[None if np.isnan(x) else x for x in row] for row in a.tolist()]
        curve = [[scored.step, self.mean(scored)] for scored in self.evaluations]
        return {**asdict(self), "matrix": matrix, "curve": curve, "metrics": self.transfer()}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> PhaseScores:
        """What `to_json` gave.

        Raises:
            ValueError: it gave no such thing.
        """
        try:
            made = cls(
                [
                    Seen(
                        int(c["context_id"]),
                        {str(name): _finite(value) for name, value in c["context"].items()},
                        None if c["random"] is None else _finite(c["random"]),
                    )
                    for c in table["contexts"]
                ],
                [int(place) for place in table["phases"]],
                [
                    Scored(
                        int(e["step"]), int(e["phase"]), bool(e["ended"]), [_finite(x) for x in e["scores"]]
                    )
                    for e in table["evaluations"]
                ],
                int(table["best"]),
            )
            made._check()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"These are no scores of a training's phases ({error}).") from error
        return made

    def _check(self) -> None:
        count, evaluations = len(self.contexts), self.evaluations
        if not all(-1 <= place < count for place in self.phases):
            raise ValueError("a phase names a context that is not there")
        if not all(0 <= e.phase < len(self.phases) and 1 <= len(e.scores) <= count for e in evaluations):
            raise ValueError("an evaluation does not fit the phases and contexts")
        if any(place >= len(e.scores) for e in evaluations for place in self.trained(e)):
            raise ValueError("an evaluation lacks a context that had been trained")
        if not -1 <= self.best < len(evaluations):
            raise ValueError("the best evaluation is not there")


def read_phase_scores(path: Path) -> PhaseScores:
    """The scores in a file.

    Raises:
        ValueError: the file does not hold them.
    """
    try:
        return PhaseScores.from_json(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not hold the scores of a training's phases: {error}") from error


def _finite(value: Any) -> float:
    """A number of a file.

    Raises:
        ValueError: it is infinite, or NaN.
    """
    if not np.isfinite(number := float(value)):
        raise ValueError(f"{number} among the scores")
    return number
