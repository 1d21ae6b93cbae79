"""What an environment is best trained with: MemorySAC("MemoryPolicy", env, **preset("Drift/Pendulum-v0")).

How they were found: by single trainings of 30,000 to 60,000 steps, judged on 16 contexts or more (docs/results.md). An
id that is not here has the learner's defaults where it drifts, else the settings for the kind of its actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from gymnasium import spaces

from memagent.agents import AdaptConfig, EntropyConfig, ExplorationConfig, LearnerConfig
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.replay import ReplayConfig
from memagent.settings import build

Settings = dict[str, Any]
"""Settings by section and name; `num_envs` beside the sections."""

SECTIONS: dict[str, type] = {
    "memory": MemoryConfig,
    "replay": ReplayConfig,
    "meta": MetaConfig,
    "adapt": AdaptConfig,
    "learner": LearnerConfig,
    "exploration": ExplorationConfig,
    "entropy": EntropyConfig,
}


def many_small_updates(
    reward_scale: float,
    temperature: float,
    prediction_steps: int,
    adapt: Mapping[str, Any] | None = None,
    **learner: Any,
) -> Settings:
    """For MemorySAC, whose rewards should be of order one once scaled.

    Many updates of few windows, at a rate that falls, bootstrapped from the next step, from memory states that are
    computed anew every 250 updates. Both predictions, the memory's and the dynamics model's, should look far enough
    ahead to see through the sensors' noise, and less far than to what nobody can foresee, such as the next waypoint.
    `adapt` and `learner` have what is otherwise in those sections.
    """
    return {
        "learner": {
            "batch_size": 8,
            "steps_per_update": 3,
            "refresh_every": 250,
            "prediction_steps": prediction_steps,
            "reward_scale": reward_scale,
            "gamma": 0.95,
            "tau": 0.005,
            "final_learning_rate": 5e-5,
            **learner,
        },
        "entropy": {"temperature": temperature},
        "replay": {"capacity": 200_000, "rows": 32, "n_step": 1},
        "adapt": {"steps_ahead": prediction_steps, **(adapt or {})},
    }


def many_small_q_updates(**learner: Any) -> Settings:
    """For MemoryDQN where episodes take some hundred steps and their returns are of some hundreds.

    As for MemorySAC: many updates of few windows, at a rate that falls. What is tried at random is kept for some steps.
    `learner` has what is otherwise in that section.
    """
    return {
        "learner": {
            "gamma": 0.99,
            "reward_scale": 0.05,
            "tau": 0.01,
            "batch_size": 8,
            "steps_per_update": 4,
            "learning_starts": 1_000,
            "exploration_steps": 4.0,
            "final_learning_rate": 5e-5,
            **learner,
        },
        "replay": {"capacity": 200_000, "rows": 32, "n_step": 4},
    }


def many_questions() -> Settings:
    """For MemoryDQN where every answer is paid at once with 1.

    The horizon is short, as nothing but silence pays later. What is shown is drawn at random: its prediction teaches
    nothing, and costs. Windows of 40 rows hold whole episodes of up to 19 pairs, or of symbols up to 8 ago. Train
    harder ones after easy ones (benchmarks/probes.py).
    """
    return {
        "num_envs": 16,
        "learner": {
            "gamma": 0.5,
            "reward_scale": 1.0,
            "batch_size": 16,
            "steps_per_update": 16,
            "learning_starts": 1_000,
            "prediction_weight": 0.0,
        },
        "replay": {"capacity": 50_000, "burn_in": 0, "rows": 40, "stride": 20, "n_step": 1},
    }


PRESETS: Mapping[str, Settings] = {
    "Drift/CartPole-v0": {
        # The pole falls within 50 steps, the cart leaves its track after some 200: keeping it there takes a long
        # horizon, and values of order one that reach it in few backups.
        "learner": {
            "gamma": 0.995,
            "reward_scale": 0.02,
            "tau": 0.02,
            "batch_size": 8,
            "steps_per_update": 16,
            "final_learning_rate": 5e-5,
        },
        # Everything seen is kept, so that old contexts stay alive; few and short windows buy more updates.
        "replay": {"capacity": 200_000, "rows": 32, "n_step": 8},
        # A constant push fells an upright pole in nine steps: a reversed one must show in few. Runs of 8 steps give
        # more on held-out contexts that are held still (270 and 240) and less where they change (253 and 391).
        "adapt": {"steps_ahead": 2, "history": 8},
        # A balanced pole shows little of what goes wrong: with 0.02 an agent knows less of what is outside the training
        # ranges (docs/adaptation.md).
        "exploration": {"final": 0.08},
    },
    # A step costs up to 16, a whole fall some 300.
    "Drift/Pendulum-v0": many_small_updates(
        reward_scale=0.02, temperature=0.02, prediction_steps=8, steps_per_update=6
    ),
    "Drift/Acrobot-v0": many_small_q_updates(),
    # With single random steps nobody leaves the valley, and what nobody has seen cannot be learned.
    "Drift/MountainCar-v0": many_small_q_updates(learning_starts=6_000, exploration_steps=20.0),
    "Drift/MountainCarContinuous-v0": many_small_updates(
        reward_scale=0.02,
        temperature=0.02,
        prediction_steps=4,
        gamma=0.99,
        learning_starts=4_000,
        exploration_steps=10.0,
    ),
    # With three steps an update, each row is learned from some eighty times: a memory learns the replay by heart, and
    # does no better with a context than without (docs/adaptation.md). A quarter of the updates teach it more.
    "Drift/PointWind-v0": many_small_updates(
        reward_scale=1.0, temperature=0.1, prediction_steps=4, steps_per_update=12
    ),
    # Where the platform lies, the cost of its distance tells, which is small beside what an arrival pays.
    "Drift/PointGoal-v0": many_small_updates(
        reward_scale=1.0,
        temperature=0.1,
        prediction_steps=4,
        steps_per_update=6,
        # A context that few steps have given is often wrong there: to begin anew too often costs less than too seldom.
        adapt={"reward_unit": 0.1, "acting_steps": 40, "false_alarms": 15.0},
    ),
    "Drift/PointGoals-v0": many_small_updates(
        reward_scale=1.0,
        temperature=0.1,
        prediction_steps=4,
        # Arrivals alone are paid: what is tried is kept for a while, so that there are some to learn from at first.
        learning_starts=4_000,
        exploration_steps=10.0,
    ),
    "Drift/LunarLander-v0": many_small_q_updates(steps_per_update=6),
    "Drift/LunarLanderContinuous-v0": many_small_updates(
        reward_scale=0.02,
        temperature=0.02,
        prediction_steps=4,
        gamma=0.99,
        steps_per_update=6,
        learning_starts=4_000,
        exploration_steps=4.0,
    ),
    "Drift/Walker2d-v0": many_small_updates(
        reward_scale=0.1, temperature=0.05, prediction_steps=4, gamma=0.99, steps_per_update=6
    ),
    "Drift/HalfCheetah-v0": many_small_updates(
        reward_scale=0.2, temperature=0.05, prediction_steps=4, gamma=0.99
    ),
    "Drift/HalfCheetahVel-v0": many_small_updates(reward_scale=1.0, temperature=0.1, prediction_steps=4),
    "Drift/InvertedPendulum-v0": many_small_updates(
        reward_scale=0.05, temperature=0.05, prediction_steps=4, gamma=0.99
    ),
    "Memory/Pairs-v0": many_questions(),
    "Memory/Repeat-v0": many_questions(),
}
"""By the environment's id."""

# For what else drifts, the learner's defaults.
DRIFTING = "Drift/"

# Elsewhere nothing is known but the spaces, and nothing drifts: many small updates, so that short trainings learn too,
# and rewards scaled so that returns of some hundreds, as most of Gymnasium's environments have, come to order one.
CONTINUOUS: Settings = many_small_updates(
    reward_scale=0.02,
    temperature=0.02,
    prediction_steps=4,
    gamma=0.99,
    tau=0.01,
    steps_per_update=2,
    final_learning_rate=2e-5,
    # What is tried is kept for a while: by single random steps nobody leaves the valley of MountainCarContinuous.
    learning_starts=4_000,
    exploration_steps=10.0,
)
DISCRETE: Settings = {
    "num_envs": 4,  # in many environments a short training ends before long episodes, as of Acrobot, have got anywhere
    **many_small_q_updates(),
}


def preset_settings(env_id: str, actions: spaces.Space | None = None) -> Settings:
    """The settings of a run in an environment, nested by section.

    Args:
        env_id: its id.
        actions: its action space, by whose kind ids without settings of their own have theirs; None: they have the
            defaults. Where nothing drifts there is no adaptation.
    """
    bare = env_id.rpartition(":")[2]  # Gymnasium takes module:ID, and an id without its version
    env_id = next((known for known in PRESETS if bare in (known, known.rpartition("-v")[0])), bare)
    if env_id in PRESETS or env_id.startswith(DRIFTING):
        settings = deepcopy(PRESETS.get(env_id, {}))
    elif actions is None:
        settings = {}
    else:
        settings = deepcopy(CONTINUOUS if isinstance(actions, spaces.Box) else DISCRETE)
    return settings if env_id.startswith(DRIFTING) else settings | {"adapt": {"enabled": False}}


def preset(env_id: str, actions: spaces.Space | None = None) -> dict[str, Any]:
    """What `MemoryDQN` or `MemorySAC` is best given for an environment, by name: a dataclass for each section.

    agent = MemorySAC("MemoryPolicy", env, **preset("Drift/Pendulum-v0"), seed=0)

    Args:
        env_id, actions: as in `preset_settings`.
    """
    settings = preset_settings(env_id, actions)
    return {name: build(kind, settings[name]) for name, kind in SECTIONS.items() if name in settings}
