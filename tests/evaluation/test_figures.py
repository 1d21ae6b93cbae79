"""What the pictures hold: every datum at its place, for few and for many."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from memagent.evaluation import figures


def lines_by_label(axes) -> dict:
    return {line.get_label(): line for line in axes.get_lines()}


def test_stream_shows_every_episode_in_the_order_of_steps():
    figure = figures.stream_figure([30, 10, 20], [3.0, 1.0, 2.0])
    (axes,) = figure.axes
    drawn = lines_by_label(axes)["episode"]
    assert drawn.get_xdata().tolist() == [10, 20, 30] and drawn.get_ydata().tolist() == [1.0, 2.0, 3.0]
    assert lines_by_label(axes)["running mean"].get_ydata().tolist() == [2.0, 2.0, 2.0]


def test_running_mean_of_many_episodes_is_centred_and_shortens_at_the_ends():
    returns = np.arange(1200.0)
    (axes,) = figures.stream_figure(returns, returns).axes
    mean = lines_by_label(axes)["running mean"].get_ydata()
    np.testing.assert_allclose(mean[20:-20], returns[20:-20])
    assert mean[0] == 10.0 and mean[-1] == 1199.0 - 10.0


def test_few_phase_changes_are_lines_many_are_ticks_below():
    steps = np.arange(100)
    few, many = steps[10:20], np.linspace(0, 99, 300)
    (axes,) = figures.stream_figure(steps, steps, few).axes
    marks = [
        line.get_xdata()[0]
        for line in axes.get_lines()
        if to_rgba(line.get_color()) == to_rgba(figures.VERMILION)
    ]
    assert marks == few.tolist()
    _, strip = figures.stream_figure(steps, steps, many).axes
    (ticks,) = strip.collections
    np.testing.assert_allclose([segment[0, 0] for segment in ticks.get_segments()], many)


def test_ten_thousands_of_episodes_are_thinned_but_all_count_in_the_mean():
    returns = np.zeros(50_000)
    returns[1::2] = 1.0
    (axes,) = figures.stream_figure(np.arange(50_000), returns).axes
    drawn = lines_by_label(axes)
    assert len(drawn["episode"].get_xdata()) < 6000
    assert np.abs(drawn["running mean"].get_ydata() - 0.5).max() < 0.01


def test_a_stream_without_a_finished_episode_is_an_empty_picture():
    assert figures.png(figures.stream_figure([], [])).startswith(b"\x89PNG")


def record(context_id, split, adapted, mean, spread=1.0, **context) -> dict:
    return {
        "context_id": context_id,
        "split": split,
        "context": context,
        "adapted": adapted,
        "episodes": 3,
        "mean_return": mean,
        "returns": [mean - 2 * spread, mean + spread, mean + spread],
    }


RECORDS = [
    record(4, "train", False, 100.0, force=5.0, length=0.25),
    record(2, "train", False, 200.0, force=15.0, length=1.0),
    record(4, "train", True, 110.0, force=5.0, length=0.25),
    record(2, "train", True, 230.0, force=15.0, length=1.0),
    record(9, "held_out", False, 50.0, spread=7.0, force=2.0, length=0.15),
]


def points(axes) -> dict[str, list[tuple[float, float]]]:
    return {c.get_label(): list(zip(*c.lines[0].get_data(), strict=True)) for c in axes.containers}


def test_contexts_are_rows_labelled_by_their_parameters():
    train, held_out = figures.contexts_figure(RECORDS).axes
    assert [text.get_text().split() for text in train.get_yticklabels()] == [
        ["force", "length"],
        ["15", "1"],
        ["5", "0.25"],
    ]
    drawn = points(train)
    assert [x for x, _ in drawn["unadapted"]] == [100.0, 200.0] and [x for x, _ in drawn["adapted"]] == [
        110.0,
        230.0,
    ]
    assert [round(y) for _, y in drawn["unadapted"]] == [1, 0] == [round(y) for _, y in drawn["adapted"]]
    assert list(points(held_out)) == ["unadapted"]


def test_contexts_show_the_lowest_and_the_highest_return_and_the_mean_over_contexts():
    train, held_out = figures.contexts_figure(RECORDS).axes
    ((start, end),) = (segment[:, 0] for segment in held_out.containers[0].lines[2][0].get_segments())
    assert (start, end) == (36.0, 57.0)
    assert 150.0 in [line.get_xdata()[0] for line in train.get_lines()]


def test_one_context_without_parameters_is_named_by_its_id():
    figure = figures.contexts_figure([record(0, "train", False, 10.0)])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["", "context 0"]
    assert not figure.legends  # there is one kind of play
    assert figures.contexts_figure(RECORDS).legends
    assert figures.png(figure).startswith(b"\x89PNG")


def test_no_context_is_an_empty_picture():
    assert figures.contexts_figure([]).axes == []


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_memory_shows_usage_writes_and_every_read_head(heads):
    T, N = 7, 5
    rng = np.random.default_rng(0)
    usage, write, read = rng.random((T, N)), rng.random((T, N)), rng.random((T, heads, N))
    figure = figures.memory_figure(usage, write, read)
    shown = {axes.get_title(loc="left"): axes.images[0].get_array() for axes in figure.axes if axes.images}
    expected = {"usage": usage, "write weights": write}
    expected |= {f"read weights, head {r + 1}": read[:, r] for r in range(heads)}
    assert list(shown) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(shown[name], values.T)
    assert figures.png(figure).startswith(b"\x89PNG")


def test_slots_that_are_never_used_are_not_shown():
    usage = np.zeros((3, 128))
    usage[1, 20] = 0.5
    for used, slots in ((usage, 21), (np.zeros((3, 128)), 8)):
        figure = figures.memory_figure(used, used, np.zeros((3, 2, 128)))
        assert {axes.images[0].get_array().shape for axes in figure.axes if axes.images} == {(slots, 3)}


def test_memory_refuses_traces_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\[T, R, N\]"):
        figures.memory_figure(np.zeros((7, 5)), np.zeros((7, 5)), np.zeros((7, 5, 2)))
