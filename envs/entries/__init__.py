"""The entries of the catalogue: data alone."""

from envs.entries.classic import CLASSIC
from envs.entries.entry import Entry
from envs.entries.lander import LANDER
from envs.entries.mujoco import MUJOCO
from envs.entries.point import POINT
from envs.entries.probes import PROBES, ProbeEntry

__all__ = ["CATALOGUE", "PROBES", "Entry", "ProbeEntry"]

CATALOGUE: dict[str, Entry] = {**CLASSIC, **POINT, **LANDER, **MUJOCO}
