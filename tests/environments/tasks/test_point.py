"""The point tasks obey their equations, and need memory: hand-written policies with it, without it, and told."""

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs.keyed_random import keyed
from envs.tasks.point import KEYS, moved, random_place, thrust
from envs.tasks.point_goal import PointGoalEnv, goal_step
from envs.tasks.point_goals import PointGoalsEnv, next_cue
from envs.tasks.point_wind import PointWindEnv, wind_step


def unit(vector):
    return vector / max(np.linalg.norm(vector), 1e-9)


def turn(vector, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def test_random_places_are_uniform_and_independent_of_their_neighbours():
    keys = np.random.default_rng(0).integers(KEYS, size=400)
    places = np.array([[random_place(int(key), n, 1.0) for n in range(25)] for key in keys])
    assert np.abs(places).max() <= 1
    for axis in range(2):
        counts, _ = np.histogram(places[..., axis], 20, (-1, 1))
        assert ((counts - 500) ** 2 / 500).sum() < 43.8  # chi-squared, 19 degrees of freedom, 0.1 %
        along = [np.corrcoef(places[:, n, axis], places[:, n + 1, axis])[0, 1] for n in range(24)]
        assert np.abs(along).max() < 0.2
    assert abs(np.corrcoef(places[..., 0].ravel(), places[..., 1].ravel())[0, 1]) < 0.04
    by_key = [random_place(key, 0, 1.0)[0] for key in range(2_000)]  # neighbouring keys too
    assert abs(np.corrcoef(by_key[:-1], by_key[1:])[0, 1]) < 0.08


@pytest.mark.parametrize(("key", "count"), [(0, 0), (KEYS - 1, 3), (12345, 10**6)])
def test_a_random_place_is_what_numpys_generators_draw_by_its_key(key, count):
    expected = [keyed(key, "place", axis, count).uniform(-0.9, 0.9) for axis in "xy"]
    assert list(random_place(key, count, 0.9)) == expected


def test_a_thrust_is_shortened_turned_and_scaled():
    np.testing.assert_allclose(thrust(3.0, 4.0, 0.0, 0.1), (0.06, 0.08))
    np.testing.assert_allclose(thrust(0.3, 0.4, 0.0, 0.1), (0.03, 0.04))
    np.testing.assert_allclose(thrust(1.0, 0.0, np.pi / 2, 0.1), (0.0, 0.1), atol=1e-12)


def test_walls_stop_the_craft():
    assert moved(0.95, -0.95, 0.2, -0.2) == (1.0, -1.0)
    assert moved(0.0, 0.0, 0.2, -0.2) == (0.2, -0.2)


def test_wind_blows_and_distance_costs():
    x, y, *goal, count, reward = wind_step(
        0.0, 0.0, 0.5, 0.0, 7, 2, 1.0, 0.0, wind_x=0.01, wind_y=0.02, heading=np.pi, speed=0.1, radius=0.2,
        distance_cost=0.1,
    )  # fmt: skip
    np.testing.assert_allclose((x, y), (-0.09, 0.02), atol=1e-12)
    assert goal == [0.5, 0.0] and count == 2
    assert reward == pytest.approx(-0.1 * np.hypot(0.59, 0.02))


def test_an_arrival_pays_and_brings_the_next_waypoint():
    *_, goal_x, goal_y, count, reward = wind_step(0, 0, 0.25, 0, 7, 2, 1, 0, 0, 0, 0, 0.1, 0.2, 0.1)
    assert reward == 1.0 and count == 3
    assert (goal_x, goal_y) == random_place(7, 2, 0.9)


def test_who_finds_the_platform_is_put_down_and_held():
    x, y, waiting, count, reward = goal_step(0, 0, 0, 7, 1, 1, 0, 0.25, 0, 0.1, 0.2, 3, 0.1)
    assert (x, y) == random_place(7, 1, 1.0) and (waiting, count, reward) == (3, 2, 1.0)
    for left in (2, 1, 0):
        still = goal_step(x, y, waiting, 7, count, 1, 1, 0.25, 0, 0.1, 0.2, 3, 0.1)
        assert still == (x, y, left, 2, 0.0)
        waiting = left
    assert goal_step(x, y, 0, 7, 2, 1, 0, 0.25, 0, 0.1, 0.2, 3, 0.1)[0] > x - 0.1


@pytest.mark.parametrize("kind", [PointWindEnv, PointGoalEnv, PointGoalsEnv])
def test_only_pictures_can_be_rendered(kind):
    env = kind(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (240, 240, 3)
    assert kind().render() is None
    with pytest.raises(ValueError, match='expected None or "rgb_array"'):
        kind(render_mode="human")


def score(name, policy, episodes=24):
    """Mean return; the policy gets the base observation, the observation and action before, and a memory of its own."""
    env = gym.make(name, transition_observation=False, phase_steps=1, seed=0)
    rng = np.random.default_rng(0)
    total = 0.0
    for _ in range(episodes):
        obs, info = env.reset()
        before, action, memory, over, reward = (
            None,
            np.zeros(2),
            {"context": info["context"], "rng": rng},
            False,
            0.0,
        )
        while not over:
            action, before = policy(obs, before, action, reward, memory), obs
            obs, reward, _, over, _ = env.step(action.astype(np.float32))
            total += reward
    return total / episodes


def at_random(obs, before, action, reward, memory):
    return memory["rng"].uniform(-1, 1, 2)


def against(way, wind):
    """The course over ground to steer so that the wind does not carry one off it, speed 0.1."""
    across = wind - (wind @ way) * way
    return way * np.sqrt(max(0.01 - across @ across, 0.0)) - across


def told_of_the_wind(obs, before, action, reward, memory):
    wind = np.array([memory["context"]["wind_x"], memory["context"]["wind_y"]])
    return turn(unit(against(unit(obs), wind)), -memory["context"]["heading"])


def by_the_last_transition(obs, before, action, reward, memory):
    """Reads the heading off one noisy transition, and believes it."""
    if before is None or not action.any():
        return memory["rng"].uniform(-1, 1, 2)
    went = before - obs
    heading = np.arctan2(went[1], went[0]) - np.arctan2(action[1], action[0])
    return unit(turn(unit(obs), -heading))


def by_all_transitions(obs, before, action, reward, memory):
    """Least squares of heading and wind on the paths flown: the noise of a path is that of its ends alone."""
    if before is None:
        memory |= {"A": np.eye(4) * 0.03, "b": np.zeros(4)}
        memory["path"] = [(np.zeros(2), 0, obs)]
        return unit(memory["rng"].uniform(-1, 1, 2))
    flown, steps, _ = memory["path"][-1]
    if reward > 0:  # a new waypoint begins a new path
        memory["A"], memory["b"] = squares(memory)
        memory["path"] = [(np.zeros(2), 0, obs)]
    else:
        memory["path"].append((flown + action, steps + 1, obs))
    found = np.linalg.solve(*squares(memory))
    wind = 0.1 * found[2:]
    wind *= min(1.0, 0.055 / max(np.linalg.norm(wind), 1e-9))
    return turn(unit(against(unit(obs), wind)), -np.arctan2(found[1], found[0]))


def squares(memory):
    """The normal equations of all paths: 0.1 (c A − s B + w t) = start − obs."""
    A, b = memory["A"].copy(), memory["b"].copy()
    rows = np.array([[[f[0], -f[1], t, 0], [f[1], f[0], 0, t]] for f, t, _ in memory["path"]], float)
    seen = np.array([-obs for *_, obs in memory["path"]]) / 0.1
    rows, seen = rows - rows.mean(0), seen - seen.mean(0)
    return A + np.einsum("tij,tik->jk", rows, rows), b + np.einsum("tij,ti->j", rows, seen)


def told_of_the_platform(obs, before, action, reward, memory):
    return unit(np.array([memory["context"]["goal_x"], memory["context"]["goal_y"]]) - obs[:2])


LANES = np.array(
    [(-0.7, -0.6), (0.7, -0.6), (0.7, -0.2), (-0.4, -0.2), (-0.4, 0.2), (0.7, 0.2), (0.7, 0.6), (-0.7, 0.6)]
)
ROUND = np.concatenate(
    [a + np.linspace(0, 1, 50)[:, None] * (b - a) for a, b in zip(LANES, np.roll(LANES, -1, 0), strict=True)]
)


def on_patrol(obs, before, action, reward, memory):
    """A round trip over the whole arena, by the place one is at: the best search without memory."""
    nearest = np.argmin(((ROUND - obs[:2]) ** 2).sum(1))
    return unit(ROUND[(nearest + 6) % len(ROUND)] - obs[:2])


def that_remembers(obs, before, action, reward, memory):
    """Finds the platform by its distance from a few places, which rewards tell, and returns to it."""
    if before is not None and reward < 0:  # |p|² − d² = 2 p·g − |g|²
        place = obs[:2]
        memory.setdefault("rows", []).append([2 * place[0], 2 * place[1], -1.0])
        memory.setdefault("right", []).append(place @ place - (reward / 0.1) ** 2)
    rows = np.array(memory.get("rows", np.zeros((0, 3))))
    if len(rows) >= 3 and np.linalg.svd(rows - rows.mean(0))[1][1] > 0.05:
        found = np.linalg.lstsq(rows, np.array(memory["right"]), rcond=None)[0][:2]
        return unit(found - obs[:2])
    return on_patrol(obs, before, action, reward, memory) if len(rows) < 2 else unit(turn(action, 1.0))


TASKS = {
    "Drift/PointWind-v0": (told_of_the_wind, by_all_transitions, by_the_last_transition),
    "Drift/PointGoal-v0": (told_of_the_platform, that_remembers, on_patrol),
}


@pytest.mark.parametrize("name", TASKS)
def test_memory_is_what_the_task_needs(name):
    told, remembering, forgetful = (score(name, policy) for policy in TASKS[name])
    nothing = score(name, at_random)
    assert told - forgetful > 0.45 * (told - nothing)  # without memory, most is lost
    assert remembering - forgetful > 0.8 * (told - forgetful)  # and memory brings it back
    print(
        f"{name}: told {told:.1f}, remembering {remembering:.1f}, forgetful {forgetful:.1f}, random {nothing:.1f}"
    )


def test_held_out_goals_and_winds_are_within_reach():
    for name, policy in (
        ("Drift/PointWind-v0", told_of_the_wind),
        ("Drift/PointGoal-v0", told_of_the_platform),
    ):
        env = gym.make(name, transition_observation=False)
        for context in envs.contexts(name, "held_out", 4):
            obs, _ = env.reset(seed=1, options={"context": context, "frozen": True})
            arrivals = 0
            for _ in range(200):
                obs, reward, *_ = env.step(
                    policy(obs, None, None, 0.0, {"context": context}).astype(np.float32)
                )
                arrivals += reward == 1.0
            assert arrivals >= 8


def test_the_next_cue_is_any_other_one():
    cues, counts = [0], np.zeros((4, 4))
    for count in range(3_000):
        cues.append(next_cue(cues[-1], 4, 11, count))
        counts[cues[-2], cues[-1]] += 1
    assert (counts.diagonal() == 0).all()
    assert np.abs(counts[~np.eye(4, dtype=bool)] - 250).max() < 4 * np.sqrt(250)


def test_the_platform_of_the_cue_alone_pays_and_brings_another_cue():
    env = PointGoalsEnv(platforms=3, pause=2)
    env.goals[:] = [(-0.8, 0.0), (0.0, 0.0), (0.8, 0.0)]
    observation, _ = env.reset(seed=0)
    arrivals, cues = 0, set()
    for _ in range(300):
        place, cue = observation[:2], int(observation[3:].argmax())
        held, action = observation[2] == 1, unit(env.goals[cue] - place)
        expected = moved(*env.state[:2], *(0.1 * action))
        observation, reward, *_ = env.step(action)
        there = not held and np.linalg.norm(np.array(expected) - env.goals[cue]) <= env.radius
        assert reward == there
        assert (observation[3:].argmax() != cue) == there and observation[3:].sum() == 1
        assert observation[2] == 1 if there else observation[2] <= held
        arrivals, cues = arrivals + there, cues | {cue}
    assert arrivals > 15 and cues == {0, 1, 2}


def test_a_search_without_memory_takes_as_long_as_the_module_says():
    """Of a platform anywhere in the training square, from any start, by the best course at hand and straight."""
    rng, r, v, a = np.random.default_rng(0), 0.2, 0.1, 1.4
    bound = (a**2 - np.pi * r**2) ** 2 / (4 * a**2 * r * v)
    assert bound == pytest.approx(21.5, abs=0.05)
    searches, straight = [], []
    for _ in range(400):
        goal, start = rng.uniform(-0.7, 0.7, 2), rng.uniform(-1, 1, 2)
        context = {"context": {"goal_x": goal[0], "goal_y": goal[1]}}
        for times, policy in ((searches, on_patrol), (straight, told_of_the_platform)):
            place, steps = start, 0
            while steps == 0 or (np.linalg.norm(place - goal) > r and steps < 300):
                place = np.array(moved(*place, *(v * policy(place, None, None, 0.0, context))))
                steps += 1
            times.append(steps)
    assert np.mean(searches) > bound
    assert np.mean(straight) == pytest.approx(7.6, abs=0.6)


def on_every_platform(policy):
    """The mean arrivals of policy(observation, goals) in an episode with four platforms."""
    env = gym.make("Drift/PointGoals-v0", transition_observation=False, phase_steps=1, seed=0)
    total = 0.0
    for _ in range(12):
        (observation, _), places, over = env.reset(), {}, False
        while not over:
            cue, action = int(observation[3:].argmax()), policy(observation, env.unwrapped.goals, places)
            found = observation[:2] + 0.1 * action
            observation, reward, _, over, _ = env.step(action.astype(np.float32))
            if reward > 0:
                places[cue] = found
            total += reward
    return total / 12


def test_several_platforms_have_to_be_remembered():
    told = on_every_platform(lambda o, goals, places: unit(goals[o[3:].argmax()] - o[:2]))
    forgetful = on_every_platform(lambda o, goals, places: on_patrol(o, None, None, 0.0, {}))

    def remembering(o, goals, places):
        cue = int(o[3:].argmax())
        return unit(places[cue] - o[:2]) if cue in places else on_patrol(o, None, None, 0.0, {})

    returned = on_every_platform(remembering)
    print(f"told {told:.1f}, remembering {returned:.1f}, forgetful {forgetful:.1f}")
    assert told > returned > 2 * forgetful


@pytest.mark.parametrize("platforms", [2, 8])
def test_the_number_of_platforms_is_an_argument_of_the_id_its_drift_and_its_contexts(platforms):
    name = "Drift/PointGoals-v0"
    env = gym.make(name, platforms=platforms, observe_context=True, transition_observation=False)
    context = envs.contexts(name, "held_out", 1, platforms=platforms)[0]
    assert len(context) == 2 * platforms == len(envs.default_drift(name, platforms=platforms).moving)
    observation, info = env.reset(seed=0, options={"context": context, "frozen": True})
    assert observation.shape == (3 + platforms + 2 * platforms,) and info["context"] == context
    places = [[context[f"goal_{i}_{axis}"] for axis in "xy"] for i in range(platforms)]
    np.testing.assert_array_equal(env.unwrapped.goals, places)
    vec = envs.make_vec(name, 2, seed=0, platforms=platforms)
    assert [inner.unwrapped.platforms for inner in vec.envs] == [platforms] * 2


@pytest.mark.parametrize("platforms", [1, 9])
def test_too_few_or_too_many_platforms_are_refused_in_a_sentence(platforms):
    with pytest.raises(ValueError, match=f"platforms={platforms}, expected .*: give 2 to 8"):
        gym.make("Drift/PointGoals-v0", platforms=platforms)


def test_arguments_that_an_id_has_not_are_refused_in_a_sentence():
    with pytest.raises(TypeError, match="PointGoal-v0 got the arguments platforms: it takes none of its own"):
        gym.make("Drift/PointGoal-v0", platforms=3)
    with pytest.raises(TypeError, match="PointGoals-v0 got the arguments length: expected platforms alone"):
        gym.make("Drift/PointGoals-v0", length=3)
