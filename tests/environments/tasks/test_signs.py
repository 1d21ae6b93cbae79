"""What the hidden sign is worth: hand-written pilots that are told it, and the same pilots when they believe in +1."""

import gymnasium as gym
import numpy as np
import pytest

import envs
import envs.tasks.recorded_lander


def rock(seen, before, env):
    """Full throttle the way the car goes."""
    return 1.0 if seen[1] >= 0 else -1.0


def swing(seen, before, env):
    """Torque against the first link's velocity, which its angle tells."""
    turned = np.arctan2(seen[1], seen[0]) - np.arctan2(before[1], before[0])
    return 1.0 if (turned + np.pi) % (2 * np.pi) < np.pi else -1.0


def car(sign, push):
    return 1 + int(sign * push)


def throttle(sign, push):
    return np.array([sign * push], np.float32)


def land(seen, before, env):
    """Gymnasium's own pilot."""
    from gymnasium.envs.box2d.lunar_lander import heuristic

    return heuristic(
        env.unwrapped, np.append(seen[:6], seen[6:] > 0.5)
    )  # whether its legs touch, noise or not


def engines(sign, action):
    return action if sign > 0 else 3 - action


def throttles(sign, action):
    return (sign * action).astype(np.float32)


# id: pilot, how its intention becomes an action under a sign, what it earns when told, and at most when not
PILOTS = {
    "Drift/MountainCar-v0": (rock, car, -130, -150),
    "Drift/MountainCarContinuous-v0": (rock, throttle, 85, 20),
    "Drift/Acrobot-v0": (swing, car, -130, -250),
    "Drift/LunarLander-v0": (land, engines, 200, 100),
    "Drift/LunarLanderContinuous-v0": (land, throttles, 200, -200),
}


def fly(name, told):
    """The mean return over contexts of both signs equally often."""
    pilot, act, *_ = PILOTS[name]
    env = gym.make(name, transition_observation=False)
    returns = []
    for context in envs.contexts(name, "train", 12):
        seen, _ = env.reset(seed=1, options={"context": context, "frozen": True})
        before, total, over = seen, 0.0, False
        while not over:
            action = act(context["action_sign"] if told else 1.0, pilot(seen, before, env))
            before = seen
            seen, reward, terminated, truncated, _ = env.step(action)
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return np.mean(returns)


@pytest.mark.parametrize("name", PILOTS)
def test_the_sign_decides(name):
    told, not_told = fly(name, told=True), fly(name, told=False)
    print(f"{name}: told {told:.0f}, not told {not_told:.0f}")
    *_, at_least, at_most = PILOTS[name]
    assert told > at_least and not_told < at_most
