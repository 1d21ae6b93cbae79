"""The plants of Gymnasium's MuJoCo bodies, version 5.

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

from envs.plants.plant import Plant, PlantParameter, attribute

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


_GRAVITY = PlantParameter(
    "m/s²",
    "gravitational acceleration",
    positive=False,
    read=lambda env: -float(env.model.opt.gravity[2]),
    write=_write_gravity,
)
_VISCOSITY = PlantParameter(
    "×",
    "viscosity of the water",
    positive=True,
    read=lambda env: float(env.model.opt.viscosity / _native(env).opt.viscosity),
    write=_write_viscosity,
)
_CRIPPLED = PlantParameter(
    "joint",
    "number of the actuator that is dead, or −1",
    positive=False,
    read=_read_crippled,
    write=_write_crippled,
)
_MASS = _factor("all masses and inertias", "body_mass", "body_inertia", then=_weigh_anew)
_FRICTION = _factor("friction of all contacts", "geom_friction", "pair_friction")
_DAMPING = _factor("damping of all joints", "dof_damping")
_GEAR = _factor("strength of all actuators", "actuator_gear")


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


def _body(**parameters: PlantParameter) -> Plant:
    common = {"mass": _MASS, "gear": _GEAR, "crippled": _CRIPPLED}
    return Plant({**common, **parameters}, save=_save, load=_load)


_LEGGED = _body(gravity=_GRAVITY, friction=_FRICTION, damping=_DAMPING)
_POLE = _body(gravity=_GRAVITY, damping=_DAMPING)
_VELOCITY = attribute("target_velocity", "m/s", "velocity that is asked for", positive=False)
BODIES = {
    "HalfCheetahVelEnv": _body(
        gravity=_GRAVITY, friction=_FRICTION, damping=_DAMPING, target_velocity=_VELOCITY
    ),
    "HalfCheetahEnv": _LEGGED,
    "AntEnv": _LEGGED,
    "HopperEnv": _LEGGED,
    "Walker2dEnv": _LEGGED,
    "HumanoidEnv": _LEGGED,
    "HumanoidStandupEnv": _LEGGED,
    "SwimmerEnv": _body(viscosity=_VISCOSITY),
    "ReacherEnv": _body(damping=_DAMPING),
    "PusherEnv": _body(damping=_DAMPING, gravity=_GRAVITY),
    "InvertedPendulumEnv": _POLE,
    "InvertedDoublePendulumEnv": _POLE,
}
"""By the name of Gymnasium's class. Gravity is left out where a body lies flat, friction where nothing touches."""


def mujoco_plant(env: Any) -> Plant | None:
    """The plant of a MuJoCo body, whose own values are kept from now on; None where it is not known."""
    for kind in type(env).__mro__:
        if kind.__module__.startswith(("gymnasium.envs.mujoco.", "envs.")) and kind.__name__ in BODIES:
            _native(env)
            return BODIES[kind.__name__]
    return None


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
