"""A plant: the physical parameters of one kind of environment, how they are really set, and its dynamics in a batch."""

from envs.plants.dynamics import BatchedDynamics
from envs.plants.plant import Plant, PlantParameter, attribute

__all__ = ["BatchedDynamics", "Plant", "PlantParameter", "attribute"]
