"""Scores between two references: 0 is random actions, 1 an agent that is told the context (the oracle).

The references of a task are mean returns by split: {"train": {"random": -1212.0, "oracle": -242.0}, "held_out": {...}}.
A split without both has no normalised scores.
"""

from __future__ import annotations

from collections.abc import Mapping

from memagent.evaluation.intervals import Interval
from memagent.evaluation.metrics import normalised_score

References = Mapping[str, Mapping[str, float]]
NOTE = " Normalised: 0 is random actions, 1 an agent that is told the context."


def has_both(references: References, split: str) -> bool:
    """Whether scores of this split can be normalised."""
    return references.get(split, {}).keys() >= {"random", "oracle"}


def normalised(score: Interval, reference: Mapping[str, float]) -> Interval:
    """A mean return with its interval, between the references of its split; these are taken as exact.

    Raises:
        ValueError: the oracle is not above random actions.
    """
    return Interval(*map(float, normalised_score(score, reference["random"], reference["oracle"])))


def normalised_gain(gain: Interval, reference: Mapping[str, float]) -> Interval:
    """A difference of two mean returns, as a share of the way from random actions to the oracle."""
    return normalised(gain, {"random": 0.0, "oracle": reference["oracle"] - reference["random"]})


def normalised_summary(
    summary: Mapping[str, Mapping[str, float | None]], references: References
) -> dict[str, dict[str, float | None]]:
    """`summary` of evaluation.json, normalised; without the splits whose references are not known.

    Args:
        summary: see `metrics.summarise`; None: not played.
        references: by split.
    """
    return {
        split: {
            kind: None
            if score is None
            else float(normalised_score(score, references[split]["random"], references[split]["oracle"]))
            for kind, score in of_split.items()
        }
        for split, of_split in summary.items()
        if has_both(references, split)
    }
