"""The charts of the scores taken while training show the numbers they are given."""

import numpy as np

from memagent.evaluation.phase_charts import curve_chart, matrix_chart
from memagent.evaluation.phase_scores import PhaseScores, Scored, Seen

CONTEXTS = [Seen(4, {"force": 5.0}, 1.0), Seen(7, {"force": -5.0}, 3.0), Seen(9, {"force": 8.0}, 5.0)]
SCORES = PhaseScores(
    CONTEXTS,
    [0, 1, 0, 2],
    [
        Scored(100, 0, True, [10.0, 2.0]),
        Scored(200, 1, True, [6.0, 20.0]),
        Scored(350, 2, True, [30.0, 1.0, 5.0]),
    ],
    best=1,
)


def test_the_curve_is_over_the_contexts_trained_beside_random_actions() -> None:
    agent, random, best = curve_chart(SCORES).data
    assert (list(agent.x), list(agent.y)) == ([100, 200, 350], [10.0, 13.0, 15.5])
    assert list(random.y) == [1.0, 2.0, 2.0]
    assert (list(best.x), list(best.y)) == ([200], [13.0])


def test_the_matrix_has_the_scores_names_and_frames_of_the_phases_own_contexts() -> None:
    made = matrix_chart(SCORES)
    (heat,) = made.data
    np.testing.assert_array_equal(heat.z, [[10, 2, np.nan], [6, 20, np.nan], [30, 1, 5]])
    assert list(heat.x) == ["1", "2", "4"] and list(heat.y) == ["1", "2", "3"]
    assert heat.customdata[0][1] == "force -5"
    assert [(box.x0, box.y0) for box in made.layout.shapes] == [(-0.5, -0.5), (0.5, 0.5), (-0.5, 1.5)]
    # Context 7 has lost 20 - 1 since its phase, and before it was 2 - 3 above random actions; 9 is to come.
    assert (
        made.layout.annotations[0].text == "forgetting +19.0, backward transfer −19.0, forward transfer −1.0"
    )
