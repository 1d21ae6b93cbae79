"""The charts of a page show the numbers they are given."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation.recordings import CHANGE, NOTICED, SLOTS, STEPS, made_up

from memagent.evaluation.adaptation_charts import context_charts, model_chart
from memagent.evaluation.charting import DARK
from memagent.evaluation.charts import contexts_chart, recovery_chart, stream_chart
from memagent.evaluation.player import player_chart, player_data, pooled


def records(adapted, *means):
    return [
        {
            "context_id": i,
            "split": "train",
            "context": {"force": float(i)},
            "adapted": adapted,
            "mean_return": mean,
            "returns": [mean - 1, mean + 2],
            "warmup_returns": [mean - 10],
        }
        for i, mean in enumerate(means)
    ]


EPISODES = {
    "step": np.array([10.0, 12.0, 20.0, 24.0, 30.0]),
    "env": np.array([0.0, 1.0, 0.0, 1.0, 0.0]),
    "phase": np.array([0.0, 0.0, 1.0, 0.0, 2.0]),
    "context_id": np.array([3.0, 9.0, 4.0, 9.0, 3.0]),
    "return": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
}


def test_the_stream_has_bands_and_parameters_of_the_first_environment():
    conditions = {3: {"force": -5.0, "noise": 0.1}, 4: {"force": 8.0, "noise": 0.1}}
    made = stream_chart(EPISODES, conditions)
    episode, _, force = made.data
    assert (list(episode.x), list(episode.y)) == ([10, 12, 20, 24, 30], [1, 2, 3, 4, 5])
    assert force.name == "force"  # noise does not drift
    assert (list(force.x), list(force.y), force.line.shape) == ([0, 10, 20, 30], [-5, 8, -5, -5], "hv")
    assert [(band.x0, band.x1) for band in made.layout.shapes] == [(10, 20)]


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_stream_without_drift_is_one_panel(kept):
    one = {name: values[:kept] for name, values in EPISODES.items()} | {"phase": np.zeros(kept)}
    made = stream_chart(one)
    assert [trace.name for trace in made.data] == ["episode", "running mean"]
    assert not made.layout.shapes


def test_recovery_is_the_mean_by_episode_with_the_warm_up_shaded():
    made = recovery_chart(records(False, 20.0, 40.0) + records(True, 50.0, 90.0), "training")
    lines = {trace.name: trace for trace in made.data if trace.name}
    assert list(lines["unadapted"].y) == [20.0, 29.0, 32.0]
    assert list(lines["adapted"].y) == [60.0, 69.0, 72.0]
    assert list(lines["adapted"].x) == [1, 2, 3]
    (warmup,) = made.layout.shapes
    assert (warmup.x0, warmup.x1) == (0.5, 1.5)


def test_recovery_of_one_context_has_no_interval():
    assert [trace.name for trace in recovery_chart(records(False, 20.0)).data] == ["unadapted"]


def test_contexts_stand_by_their_adapted_return():
    made = contexts_chart(records(False, 20.0, 40.0, 30.0) + records(True, 50.0, 90.0, 70.0))
    unadapted, adapted = made.data
    assert np.round(adapted.x).tolist() == np.round(unadapted.x).tolist() == [3, 1, 2]
    assert list(adapted.y) == [50.0, 90.0, 70.0]
    assert list(adapted.error_y.array) == [2.0] * 3 and list(adapted.error_y.arrayminus) == [1.0] * 3
    assert adapted.text[1] == "force 1"


def test_the_context_vector_is_shown_over_time_and_in_the_plane():
    ids = np.repeat([0, 1, 0], 20)
    z = np.stack([ids * 3.0, np.zeros(60), np.ones(60)], 1)
    over_time, plane = context_charts(z, ids)
    assert np.allclose(abs(over_time.data[0].y), ids * 3.0)
    assert "100 %" in over_time.data[0].name
    assert [(band.x0, band.x1) for band in over_time.layout.shapes] == [(20, 40)]
    ends = {trace.name: len(trace.x) for trace in plane.data if trace.marker.size > 4}
    assert ends == {"condition 0": 2, "condition 1": 1}


def test_the_model_s_error_is_shown_before_and_after_the_fit():
    made = model_chart(np.array([0, 0, 1, 1]), np.array([4.0, 6.0, 8.0, 8.0]), np.array([1.0, 3.0, 2.0, 2.0]))
    lines = {trace.name: list(trace.y) for trace in made.data if trace.name}
    assert lines == {"z = 0": [5.0, 8.0], "z fitted": [2.0, 2.0]}
    assert not model_chart(np.zeros(0), np.zeros(0), np.zeros(0)).data


def test_the_player_s_chart_has_a_panel_for_all_that_there_is():
    made = player_chart(made_up())
    names = [trace.name for trace in made.data]
    assert names[:2] == ["action", "reward"]
    assert names[-3:] == ["usage", "write weights", "read weights, head 1"]
    assert [t.z.shape for t in made.data if t.meta == "memory"] == [(SLOTS, STEPS)] * 3
    places = {
        shape.line.color: shape.x0 for shape in made.layout.shapes if shape.line.dash in ("dash", "solid")
    }
    assert {CHANGE - 0.5, NOTICED} <= set(places.values())
    assert [shape.name for shape in made.layout.shapes].count("cursor") == 1


def test_what_is_not_known_of_an_agent_has_no_panel():
    bare = made_up(frames=False, contexts=None, evidence=None, memory={}, noticed=[])
    assert [trace.name for trace in player_chart(bare).data] == ["observation", "action", "reward"]
    assert player_data(bare)["evidence"] is None


def test_the_player_s_data_are_those_of_the_steps():
    begun = made_up()  # 7 steps before the first row
    data = player_data(replace(begun, returns=begun.returns + 7.0, times=begun.times + 7))
    assert (data["returns"][:2], data["times"][:2]) == ([8.0, 9.0], [7, 8])
    assert (data["steps"], data["changes"], data["noticed"], data["ends"]) == (
        STEPS,
        [CHANGE],
        [NOTICED],
        [9, 29],
    )
    assert data["conditions"] == [[0, {"force": 10.0}], [CHANGE, {"force": -10.0}]]
    assert data["actions"][:3] == ["0", "1", "0"]
    assert [t for t, _ in data["frames"]] == list(range(0, STEPS, 2))


def test_many_slots_are_pooled_to_their_largest():
    values = np.arange(12.0).reshape(2, 6)
    assert pooled(values, most=4).tolist() == [[1, 3, 5], [7, 9, 11]]
    assert pooled(values, most=6).tolist() == values.tolist()


def test_dark_colours_are_no_light_ones():
    """Each is replaced once: what stands for one colour is not replaced again."""
    assert not set(DARK) & set(DARK.values())
