"""What benchmarks.detection counts, on streams made by hand."""

from functools import partial

import numpy as np
import pytest

from benchmarks import detection, detectors
from benchmarks.detection import HORIZON, Stream, noticed, score
from benchmarks.detection_tables import SIGNALS, resumed, summarise, tables

T = 1_000
SIGN, GOAL = "Drift/CartPole-v0", "Drift/PointGoal-v0"


def stream(
    changes: list[int], alarms: list[int], context: dict[str, list[float]], **other: np.ndarray
) -> Stream:
    """One environment; the context takes its next value at every change."""
    changed, alarm = (np.isin(np.arange(T), steps)[:, None] for steps in (changes, alarms))
    phase = changed.cumsum(0)
    held = {name: np.array(values)[phase] for name, values in context.items()}
    parts = {"obs": np.zeros((T, 1, 3)), "reward": np.zeros((T, 1)), "ended": np.zeros((T, 1), bool)} | other
    return Stream(changed=changed, alarm=alarm, context=held, **parts)


def test_delays_are_steps_since_the_change_and_only_the_first_alarm_after_it_is_right() -> None:
    sign = {"action_sign": [1.0, -1.0, -1.0, 1.0]}
    found = noticed(stream([200, 400, 700], [50, 208, 230, 690, 702], sign), SIGN)
    assert found["changes"] == [[8, True], [None, False], [2, True]]
    # 50: nothing has changed yet; 230: it was noticed before. 690: late, and true.
    assert found["false_alarms"] == 2 and found["steps"] == T


def test_changes_near_another_one_do_not_count() -> None:
    sign = {"action_sign": [1.0, -1.0, 1.0, -1.0]}
    near = HORIZON - 1
    found = noticed(stream([300, 300 + near, 800], [], sign), SIGN)
    assert found["changes"] == [[None, True]]


def test_on_a_platform_that_moved_the_delay_counts_from_the_first_visit_of_the_old_place() -> None:
    obs = np.full((T, 1, 3), 0.9)
    obs[330:, 0, :2] = 0.0  # where the platform was
    goal = {"goal_x": [0.0, 0.5, 0.55], "goal_y": [0.0, 0.0, 0.0]}
    found = noticed(stream([300, 800], [337], goal, obs=obs), GOAL)
    assert found["changes"] == [[7, True]]  # at 800 nobody is at the old place
    obs[800:, 0, :2] = (0.5, 0.0)
    assert noticed(stream([300, 800], [337], goal, obs=obs), GOAL)["changes"] == [[7, True], [None, False]]


def test_the_score_is_the_mean_return_of_whole_episodes() -> None:
    ended = np.isin(np.arange(T), [99, 299])[:, None]
    assert score(stream([], [], {"action_sign": [1.0]}, reward=np.ones((T, 1)), ended=ended)) == 150.0


@pytest.mark.parametrize(
    ("task", "old", "new", "matters"),
    [
        (SIGN, {"action_sign": 1.0}, {"action_sign": -1.0}, True),
        ("Drift/PointWind-v0", {"heading": -0.4}, {"heading": 0.4}, False),
        ("Drift/PointWind-v0", {"heading": -0.4}, {"heading": 3.0}, True),
        (GOAL, {"goal_x": 0.0, "goal_y": 0.0}, {"goal_x": 0.1, "goal_y": 0.1}, False),
    ],
)
def test_which_changes_matter(task: str, old: dict, new: dict, matters: bool) -> None:
    assert detection.MATTERS[task](old, new) == matters


def test_the_share_of_what_being_told_gives_and_recoveries_are_summarised() -> None:
    scores = {"untold": 100.0, "none": 150.0, "detect": 290.0, "info": 300.0}
    quick, slow = [[-1.0] * 2 + [0.0] * 18], [[-1.0] * 20]
    run = {
        "task": "Drift/Pendulum-v0", "agent": "lstm", "seed": 0, "score": scores, "steps": 20_000,
        "changes": [[4, True], [8, True], [None, True], [None, False]], "false_alarms": 3,
        "after_changes": dict(zip(SIGNALS, (slow, slow, quick, quick), strict=True)),
    }  # fmt: skip
    outside = [
        {"task": run["task"], "agent": name, "after_changes": [[value] * 20]}
        for name, value in (("random", -1.0), ("oracle", 0.0))
    ]
    summary = summarise([run], outside, steps_per_bin=5)
    found = summary["Drift/Pendulum-v0"]
    assert found["share_of_told"] == 0.95
    assert (found["missed"], found["missed_of_all"], found["median_delay"]) == (0.333, 0.5, 6.0)
    assert found["false_alarms_per_10000"] == 1.5
    of = found["agents"]["lstm"]
    assert (of["recovery_median"], of["not_recovered"]) == (30, 0.0)
    assert of["recovery"]["untold"]["censored_share"] == 1.0
    assert (
        "| Drift/Pendulum-v0 | lstm | 1 | 100 | 150 | 290 | 300 | 95 % | 33 % | 6 | 50 % | 1.5 | 30 | 0 % |"
        in tables(summary)
    )


def steps_of(known: list[float], later: list[float], matters: bool = True) -> detectors.Segment:
    values = np.array([*known, *later])
    return detectors.Segment(values, -values, len(known), matters)


def test_a_rule_has_the_least_cautious_threshold_that_raises_one_false_alarm_in_ten_thousand_steps() -> None:
    quiet = steps_of([-1.0] * 9_000, [2.0] * 10)
    bump = steps_of([-1.0] * 500 + [2.0, 2.0] + [-1.0] * 498, [2.0, -1.0] * 20, matters=False)
    found = detectors.best(
        [quiet, bump], "ratio", partial(detectors.forgetting_sum, memory=1.0), [30.0, 9.0, 3.9, 1.9]
    )
    assert found == {
        "threshold": 3.9,  # the bump reaches 4: one alarm in 10,000 known steps; 1.9 raises two
        "false_alarms_per_10000": 1.0,
        "missed": 0.0,
        "median_delay": 2.0,
    }


def test_an_old_context_is_kept_where_its_first_episode_has_nearly_the_best_of_before() -> None:
    one = {"resumed": [[0.96, 1.0], [0.94, 1.0]], "visits": [[0.5, 0.9, 0.7], [0.5, 0.6, 0.8]]}
    two = {"resumed": [[1.2, 1.0], [0.5, 1.0]], "visits": [[0.4, 0.4, 0.4]]}
    found = resumed([one, two])
    assert (found["returns"], found["kept"], found["first"], found["best"]) == (4, 0.5, 0.9, 1.0)
    assert found["forgetting"] == 0.0  # 0.2, -0.2 and 0


def test_a_rule_that_never_is_rare_enough_finds_nothing() -> None:
    assert detectors.best([steps_of([3.0] * 200, [3.0] * 5)], "ratio", detectors.window_sum, [1.0]) == {}


def test_the_bayesian_rule_finds_a_step_and_is_quiet_before_it() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(size=300), generator.normal(4.0, size=60)])
    alarms = list(detectors.bayesian(values, 0.9))
    assert alarms and 300 <= alarms[0] <= 306
