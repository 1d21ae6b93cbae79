"""Drifting Gymnasium environments: `import envs` registers the ids `Drift/*`, `Memory/*` and `Base/*`."""

from envs.catalogue import CATALOGUE, PROBES, canonical_id, contexts, default_drift, register
from envs.catalogue.scores import reference_scores
from envs.drift import Drift
from envs.lifetime import Clock, Lifetime
from envs.saving import get_state, is_whole, set_state
from envs.tasks.pairs import PairsEnv
from envs.tasks.recall import RecallEnv
from envs.tasks.repeat import RepeatEnv
from envs.vector import make_vec
from envs.wrappers import DriftingEnv, FlatActions, ForeignStream, TransitionObservation

register()

__all__ = [
    "CATALOGUE",
    "PROBES",
    "Clock",
    "Drift",
    "DriftingEnv",
    "FlatActions",
    "ForeignStream",
    "Lifetime",
    "PairsEnv",
    "RecallEnv",
    "RepeatEnv",
    "TransitionObservation",
    "canonical_id",
    "contexts",
    "default_drift",
    "get_state",
    "is_whole",
    "make_vec",
    "reference_scores",
    "register",
    "set_state",
]
