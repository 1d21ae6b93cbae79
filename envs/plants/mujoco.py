"""The parameters and the state that MuJoCo bodies share, of Gymnasium's version 5.

Masses, friction, damping and gears are factors on the body's own values, of which a copy is kept with the environment
(`native_model`): a factor of 1 restores them to the bit. MuJoCo is imported inside the functions, since it is optional.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from importlib.util import find_spec
from typing import Any

import numpy as np

from envs.plants.plant import Plant, PlantParameter

# Arrays that a step reads, or shows, as the step before left them: the integration state leaves them out.
_LEFT_OVER = ("xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "cinert",
              "cvel", "cacc", "cfrc_ext", "cfrc_int", "qfrc_actuator", "subtree_com")  # fmt: skip


def _native(env: Any) -> Any:
    """The model as it was before any parameter was set."""
    if "native_model" not in vars(env):
        env.native_model = copy(env.model)
    return env.native_model


def _factor(
    meaning: str, *arrays: str, then: Callable[[Any, float], None] = lambda env, value: None
) -> PlantParameter:
    """A factor on arrays of the model."""

    def read(env: Any) -> float:
        own, now = getattr(_native(env), arrays[0]), getattr(env.model, arrays[0])
        largest = np.abs(own).argmax()
        return float(now.flat[largest] / own.flat[largest])

    def write(env: Any, value: float) -> None:
        for array in arrays:
            getattr(env.model, array)[:] = getattr(_native(env), array) * value
        then(env, value)

    return PlantParameter("×", meaning, positive=True, read=read, write=write)


def _weigh_anew(env: Any, value: float) -> None:
    """Recomputes what MuJoCo derives from masses; in spare data, since it moves the body to its first pose."""
    import mujoco

    mujoco.mj_setConst(env.model, mujoco.MjData(env.model))


def _write_gravity(env: Any, value: float) -> None:
    env.model.opt.gravity[2] = -value


def _write_viscosity(env: Any, value: float) -> None:
    env.model.opt.viscosity = _native(env).opt.viscosity * value


def _read_crippled(env: Any) -> float:
    dead = np.flatnonzero(
        (env.model.actuator_gainprm[:, 0] == 0) & (_native(env).actuator_gainprm[:, 0] != 0)
    )
    return float(dead[0]) if dead.size else -1.0


def _write_crippled(env: Any, value: float) -> None:
    joints = env.model.nu
    if value not in range(-1, joints):
        raise ValueError(f"crippled={value}: expected a joint from 0 to {joints - 1}, or −1 for none.")
    env.model.actuator_gainprm[:] = _native(env).actuator_gainprm
    if value >= 0:
        env.model.actuator_gainprm[int(value), 0] = 0.0


GRAVITY = PlantParameter(
    "m/s²",
    "gravitational acceleration",
    positive=False,
    read=lambda env: -float(env.model.opt.gravity[2]),
    write=_write_gravity,
)
VISCOSITY = PlantParameter(
    "×",
    "viscosity of the water",
    positive=True,
    read=lambda env: float(env.model.opt.viscosity / _native(env).opt.viscosity),
    write=_write_viscosity,
)
CRIPPLED = PlantParameter(
    "joint",
    "number of the actuator that is dead, or −1",
    positive=False,
    read=_read_crippled,
    write=_write_crippled,
)
MASS = _factor("all masses and inertias", "body_mass", "body_inertia", then=_weigh_anew)
FRICTION = _factor("friction of all contacts", "geom_friction", "pair_friction")
DAMPING = _factor("damping of all joints", "dof_damping")
GEAR = _factor("strength of all actuators", "actuator_gear")


def _save(env: Any) -> dict[str, Any]:
    """MuJoCo's state of integration, and what the last step left for the next one to read."""
    import mujoco

    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(env.model, kind))
    mujoco.mj_getState(env.model, env.data, state, kind)
    left_over = {name: getattr(env.data, name).ravel().tolist() for name in _LEFT_OVER}
    return {"integration": state.tolist(), "left_over": left_over}


def _load(env: Any, saved: dict[str, Any]) -> None:
    import mujoco

    state = np.array(saved["integration"])
    mujoco.mj_setState(env.model, env.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    for name, values in saved["left_over"].items():
        array = getattr(env.data, name)
        array[:] = np.reshape(values, array.shape)


def body(**parameters: PlantParameter) -> Plant:
    """The plant of a body with these parameters and those of all bodies: masses, gears, a dead actuator."""
    return Plant({"mass": MASS, "gear": GEAR, "crippled": CRIPPLED, **parameters}, save=_save, load=_load)


LEGGED = body(gravity=GRAVITY, friction=FRICTION, damping=DAMPING)
"""The plant of a body that stands on the ground."""


@contextmanager
def without_deprecations(needs: object) -> Iterator[None]:
    """Around the making of an environment: what MuJoCo's compiler says of attributes in Gymnasium's own models.

    It would say so once for every copy of a body, on the terminal and in MUJOCO_LOG.TXT. Other warnings go through.
    Nothing happens where `needs`, an extra or an entry point, does not name MuJoCo.
    """
    if "mujoco" not in str(needs) or find_spec("mujoco") is None:
        yield
        return
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_pass_on)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _pass_on(message: str) -> None:
    if "is deprecated" not in message:
        sys.stderr.write(f"WARNING: {message}\n")
