"""Drifting Gymnasium environments: `import envs` registers the `Drift/*` ids."""

from envs.catalogue import CATALOGUE, PROBES, contexts, default_drift, register
from envs.drift import Clock, Drift, Lifetime
from envs.flat_actions import FlatActions
from envs.pairs import PairsEnv
from envs.recall import RecallEnv
from envs.repeat import RepeatEnv
from envs.scores import reference_scores
from envs.state import get_state, is_whole, set_state
from envs.streams import ForeignStream
from envs.vector import make_vec
from envs.wrappers import DriftingEnv, TransitionObservation

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
    "contexts",
    "default_drift",
    "get_state",
    "is_whole",
    "make_vec",
    "reference_scores",
    "register",
    "set_state",
]
