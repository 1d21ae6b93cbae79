"""Gymnasium wrappers: drift, ours and other libraries', and what an agent observes and does."""

from envs.wrappers.drifting import DriftingEnv
from envs.wrappers.flat_actions import FlatActions
from envs.wrappers.foreign import ForeignStream
from envs.wrappers.sensors import Sensors
from envs.wrappers.transition import TransitionObservation

__all__ = ["DriftingEnv", "FlatActions", "ForeignStream", "Sensors", "TransitionObservation"]
