"""What drifts between agent and environment, whatever the environment: actuators, sensors and rewards."""

from envs.channels.actions import ActionChannel
from envs.channels.channel import Channel, Parameter
from envs.channels.observations import ObservationChannel
from envs.channels.rewards import RewardChannel

__all__ = ["ActionChannel", "Channel", "ObservationChannel", "Parameter", "RewardChannel"]
