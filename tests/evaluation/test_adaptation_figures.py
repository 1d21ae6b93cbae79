"""What the pictures of adaptation hold, against planted planes, slow loops and records by hand."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from memagent.evaluation import adaptation_figures as pictures
from memagent.evaluation.figures import BLUE, VERMILION, png
from memagent.evaluation.intervals import interval


def lines_by_label(axes) -> dict:
    return {line.get_label(): line for line in axes.get_lines()}


def draws(figure) -> bool:
    return png(figure, dpi=40).startswith(b"\x89PNG")


# The context vector


def planted_plane(T: int = 400, Z: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Rows [T, Z] with standard deviations 3 and 1 along two orthonormal directions [2, Z]; an offset, little else."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(Z, 2)))[0].T
    scores = rng.normal(size=(T, 2)) * [3.0, 1.0]
    return 0.5 + scores @ directions + 1e-3 * rng.normal(size=(T, Z)), directions


def test_the_two_main_directions_recover_a_planted_plane_in_order():
    z, planted = planted_plane()
    found = pictures.main_directions(z)
    overlap = np.abs(found.directions @ planted.T)
    np.testing.assert_allclose(overlap, np.eye(2), atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(found.directions @ planted.T, axis=1), 1.0, atol=1e-4)
    covariance = np.cov(z.T)
    along = [d @ covariance @ d for d in found.directions]
    np.testing.assert_allclose(found.shares, np.array(along) / np.trace(covariance))
    assert found.shares[0] > 0.85 and found.shares.sum() > 0.999


def test_no_context_is_at_the_origin_and_the_sign_is_fixed():
    z, _ = planted_plane()
    found, mirrored = pictures.main_directions(z), pictures.main_directions(-z)
    np.testing.assert_allclose(found.coordinates, z @ found.directions.T)
    assert (found.directions.max(1) == np.abs(found.directions).max(1)).all()
    np.testing.assert_allclose(mirrored.directions, found.directions)
    np.testing.assert_allclose(mirrored.coordinates, -found.coordinates)


def test_context_lines_hold_the_coordinates_and_changes_are_dashed():
    z, _ = planted_plane(T=9)
    ids = [4, 4, 4, 2, 2, 2, 2, 4, 4]
    over_time, plane = pictures.context_figure(z, ids, steps=np.arange(9) * 10).axes
    found = pictures.main_directions(z)
    directions = [line for line in over_time.get_lines() if line.get_linestyle() == "-"]
    assert [to_rgba(line.get_color()) for line in directions] == [to_rgba(BLUE), to_rgba(VERMILION)]
    for k, line in enumerate(directions):
        assert line.get_xdata().tolist() == list(range(0, 90, 10))
        np.testing.assert_array_equal(line.get_ydata(), found.coordinates[:, k])
        share = f"({100 * found.shares[k]:.0f} % of variance)"
        assert share in line.get_label()
        assert share in (plane.get_xlabel(), plane.get_ylabel())[k]
    dashed = [line.get_xdata()[0] for line in over_time.get_lines() if line.get_linestyle() == "--"]
    assert dashed == [30, 70]


def test_rows_of_a_condition_share_a_colour_and_large_marks_end_its_phases():
    z, _ = planted_plane(T=9)
    ids = np.array([4, 4, 4, 2, 2, 2, 2, 4, 4])
    _, plane = pictures.context_figure(z, ids).axes
    coordinates = pictures.main_directions(z).coordinates
    marks = lines_by_label(plane)
    for group, ends in ((2, [6]), (4, [2, 8])):
        mark = marks[f"condition {group}"]
        np.testing.assert_array_equal(mark.get_xydata(), coordinates[ends])
        (rows,) = (
            line
            for line in plane.get_lines()
            if line.get_marker() == "." and line.get_color() == mark.get_color()
        )
        np.testing.assert_array_equal(rows.get_xydata(), coordinates[ids == group])
    assert marks["condition 2"].get_color() != marks["condition 4"].get_color()
    assert marks["z = 0"].get_xydata().tolist() == [[0, 0]]
    # The path breaks at a change, where z jumps back to zero.
    paths = [line.get_xydata() for line in plane.get_lines() if line.get_marker() == "None"]
    assert [len(path) for path in paths] == [3, 4, 2]


def test_a_phase_may_bring_the_same_condition_again():
    z, _ = planted_plane(T=6)
    over_time, plane = pictures.context_figure(z, [1] * 6, [0, 0, 0, 1, 1, 1]).axes
    assert lines_by_label(over_time)["phase change"].get_xdata()[0] == 3
    assert len(lines_by_label(plane)["condition 1"].get_xdata()) == 2


def test_many_rows_are_thinned_in_the_plane_but_not_over_time():
    z, _ = planted_plane(T=30_000)
    over_time, plane = pictures.context_figure(z, np.zeros(30_000, int)).axes
    assert len(over_time.get_lines()[0].get_xdata()) == 30_000
    (rows,) = (line for line in plane.get_lines() if line.get_marker() == ".")
    assert 2000 < len(rows.get_xdata()) <= 4000


@pytest.mark.parametrize(("T", "Z"), [(1, 1), (1, 5), (2, 1), (6, 1), (2, 2), (6, 5)])
@pytest.mark.parametrize("value", ["zeros", "ones", "random"])
def test_few_rows_or_columns_make_a_picture(T, Z, value):
    z = {"zeros": np.zeros, "ones": np.ones, "random": np.random.default_rng(0).random}[value]((T, Z))
    found = pictures.main_directions(z)
    assert found.coordinates.shape == (T, 2) and found.directions.shape == (2, Z)
    if value == "random" and T > 1:
        covariance = z.T @ (z - z.mean(0))
        expected = np.sort(np.linalg.eigvalsh(covariance))[::-1][:2] / np.trace(covariance)
        np.testing.assert_allclose(found.shares[: len(expected)], expected, atol=1e-12)
    else:
        assert (found.shares == 0).all()
    assert draws(pictures.context_figure(z, np.zeros(T, int)))


def test_no_row_is_an_empty_picture_and_many_conditions_share_a_colour_map():
    empty = pictures.context_figure(np.zeros((0, 16)), [])
    assert empty.axes == [] and draws(empty)
    z, _ = planted_plane(T=100)
    figure = pictures.context_figure(z, np.arange(100) // 2)
    assert figure.axes[1].get_legend() is None and draws(figure)


def test_context_refuses_rows_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\[T, Z\]"):
        pictures.context_figure(np.zeros((4, 3)), [0] * 5)
    with pytest.raises(ValueError, match="finite"):
        pictures.context_figure([[0.0, np.nan]], [0])


# The model's prediction error


def test_binned_means_equal_a_slow_loop():
    rng = np.random.default_rng(1)
    steps = rng.integers(0, 300, 500)
    values = rng.random((500, 2))
    binned = pictures.bin_by_step(steps, values, bins=9)
    edges = sorted({round((steps.max() + 2) ** (k / 9)) for k in range(10)})  # of step + 1
    k = 0
    for low, high in pairwise(edges):
        inside = [i for i in range(500) if low <= steps[i] + 1 < high]
        if not inside:
            continue
        assert binned.counts[k] == len(inside)
        assert binned.centres[k] == pytest.approx(sum(steps[i] for i in inside) / len(inside))
        for column in range(2):
            chosen = [values[i, column] for i in inside]
            mean = sum(chosen) / len(chosen)
            assert binned.means[k, column] == pytest.approx(mean)
            if len(chosen) == 1:
                assert np.isnan(binned.standard_errors[k, column])
            else:
                squares = sum((x - mean) ** 2 for x in chosen)
                expected = (squares / (len(chosen) - 1) / len(chosen)) ** 0.5
                assert binned.standard_errors[k, column] == pytest.approx(expected)
        k += 1
    assert k == len(binned.means) and binned.counts.sum() == 500


def test_the_first_steps_have_a_bin_each():
    steps = np.repeat(np.arange(1000), 3)
    binned = pictures.bin_by_step(steps, steps.astype(float))
    assert binned.centres[:3].tolist() == [0, 1, 2] == binned.means[:3].tolist()
    assert binned.counts[:3].tolist() == [3, 3, 3] and (binned.standard_errors[:3] == 0).all()


def test_model_shows_both_errors_with_a_band_of_one_standard_error():
    steps = [0, 0, 5, 5]
    (axes,) = pictures.model_figure(steps, [1.0, 3.0, 2.0, 2.0], [1.0, 1.0, 0.0, 1.0]).axes
    drawn = lines_by_label(axes)
    assert drawn["z = 0"].get_xydata().tolist() == [[1, 2], [6, 2]]
    assert drawn["z fitted"].get_xydata().tolist() == [[1, 1], [6, 0.5]]
    assert drawn["z = 0"].get_color() != drawn["z fitted"].get_color()
    before, after = (band.get_paths()[0].vertices for band in axes.collections)
    assert (before[:, 1].min(), before[:, 1].max()) == (1.0, 3.0)  # s = sqrt(2), s / sqrt(2) = 1
    assert (after[:, 1].min(), after[:, 1].max()) == (0.0, 1.0)
    assert axes.get_ylim()[0] == 0.0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_errors_make_a_picture(n):
    assert draws(pictures.model_figure(np.zeros(n, int), np.zeros(n), np.zeros(n)))
    assert draws(pictures.model_figure(np.arange(n), np.ones(n), -np.ones(n)))


def test_model_refuses_errors_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\[n\]"):
        pictures.model_figure([0, 1], [0.0, 1.0], [0.0])
    for steps, error in (([0], [np.nan]), ([-1], [1.0])):
        with pytest.raises(ValueError, match="finite"):
            pictures.model_figure(steps, error, error)


# The return by episode since the change


def record(context_id, split, adapted, warmup, returns) -> dict:
    return {
        "context_id": context_id,
        "split": split,
        "adapted": adapted,
        "warmup_returns": warmup,
        "returns": returns,
    }


RECORDS = [
    record(0, "train", False, [1.0, 2.0], [3.0]),
    record(1, "train", False, [3.0, 2.0], [9.0]),
    record(0, "train", True, [1.0, 4.0], [5.0]),
    record(1, "train", True, [1.0, 6.0], [8.0]),
    record(2, "held_out", True, [0.0, 7.0], [9.0]),
]


def test_episodes_are_the_warmup_and_then_the_scored_ones():
    np.testing.assert_array_equal(pictures.episode_returns(RECORDS[:2]), [[1, 2, 3], [3, 2, 9]])
    train, held_out = pictures.episodes_figure(RECORDS).axes
    drawn = lines_by_label(train)
    assert drawn["unadapted"].get_xydata().tolist() == [[1, 2], [2, 2], [3, 6]]
    assert drawn["adapted"].get_xydata().tolist() == [[1, 1], [2, 5], [3, 6.5]]
    assert lines_by_label(held_out)["adapted"].get_xydata().tolist() == [[1, 0], [2, 7], [3, 9]]
    assert "unadapted" not in lines_by_label(held_out)
    assert train.get_title(loc="left") == "training contexts (2)"
    assert held_out.get_title(loc="left") == "held-out contexts (1)"


def test_warmup_episodes_are_shaded_and_scored_ones_are_not():
    train, _ = pictures.episodes_figure(RECORDS).axes
    (shade,) = train.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (0.5, 2.5)
    (axes,) = pictures.episodes_figure([record(0, "train", True, [], [1.0, 2.0])]).axes
    assert not axes.patches


def test_the_band_is_the_interval_of_the_mean_over_contexts():
    rng = np.random.default_rng(2)
    returns = rng.random((6, 3))
    records = [record(c, "train", True, row[:1].tolist(), row[1:].tolist()) for c, row in enumerate(returns)]
    (axes,) = pictures.episodes_figure(records).axes
    (band,) = axes.collections
    vertices = band.get_paths()[0].vertices
    for k in range(3):
        at = vertices[vertices[:, 0] == k + 1, 1]
        _, low, high = interval(returns[:, k], over="contexts")
        assert (at.min(), at.max()) == (low, high)
        assert low < returns[:, k].mean() < high


@pytest.mark.parametrize(
    "records",
    [
        [],
        RECORDS[:1],
        RECORDS[-1:],
        RECORDS[2:4],
        RECORDS,
        [record(c, "train", True, [1.0], [1.0]) for c in range(3)],
        [record(0, "train", True, [], [])],
    ],
)
def test_few_records_make_a_picture(records):
    assert draws(pictures.episodes_figure(records))


def test_records_of_different_evaluations_are_refused():
    with pytest.raises(ValueError, match="one evaluation"):
        pictures.episodes_figure([*RECORDS, record(3, "train", True, [1.0], [2.0, 3.0])])
