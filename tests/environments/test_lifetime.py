"""Contexts, ids, phases and the clock, without any environment."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import Clock, Drift, Lifetime
from envs.schedules import Choice, Constant, Draw, Geometric, Listed, Periodic, Steps, Uniform

SOURCES = {"sign": Choice((-1, 1)), "mass": Uniform(((1, 2),))}


def run(clock, steps, episode=7):
    """(phase, context id, changed) of every step, with an episode end every `episode` steps."""
    record = []
    for t in range(steps):
        if (t % episode == 0 or clock.drift_within) and clock.due:
            clock.advance()
        record.append((clock.phase, clock.context_id, clock.changed))
        clock.tick()
    return record


def make_clock(drift, seed=0):
    clock = Clock(drift, seed)
    clock.drift_within = drift.change_at == "step"
    return clock


def test_a_listed_lifetime_is_what_it_says():
    drift = Drift(
        {"sign": Steps((1, -1), Periodic(4)), "mass": Steps((1, 2, 1), Listed((6, 12)), cycle=False)}
    )
    lifetime = Lifetime(drift, seed=0)
    contexts = [lifetime.context(lifetime.index(t)) for t in range(14)]
    assert [c["sign"] for c in contexts] == [1] * 4 + [-1] * 4 + [1] * 4 + [-1] * 2
    assert [c["mass"] for c in contexts] == [1] * 6 + [2] * 6 + [1] * 2
    #                 t = 0, 4, 6, 8, 12 and (-1, 1) of step 4 is back at 12
    assert [lifetime.index(t) for t in (0, 4, 6, 8, 12)] == [0, 1, 2, 3, 4]
    assert [lifetime.context_id(i) for i in range(5)] == [0, 1, 2, 3, 1]


def test_asking_for_a_late_step_first_gives_the_same_contexts():
    drift = Drift.draws(SOURCES, Geometric(100))
    early, late = Lifetime(drift, 3), Lifetime(drift, 3)
    late.index(10_000)
    steps = range(0, 10_000, 37)
    assert [early.context(early.index(t)) for t in steps] == [late.context(late.index(t)) for t in steps]
    assert [early.context_id(early.index(t)) for t in steps] == [
        late.context_id(late.index(t)) for t in steps
    ]


def test_recurring_contexts_keep_their_ids():
    drift = Drift.draws(SOURCES, Periodic(10), recurring=4)
    lifetime = Lifetime(drift, 5)
    assert [lifetime.context_id(lifetime.index(t)) for t in range(0, 120, 10)] == [0, 1, 2, 3] * 3


def test_a_draw_that_repeats_the_present_value_is_no_change():
    drift = Drift({"sign": Draw(Choice((-1, 1)), Periodic(10))})
    lifetime = Lifetime(drift, 1)
    values = [drift.parameters["sign"].value(t, 1, "sign") for t in range(0, 400, 10)]
    changes = sum(a != b for a, b in pairwise(values))
    assert 0 < changes < 39
    assert lifetime.index(399) == changes
    assert {lifetime.context_id(i) for i in range(changes + 1)} == {0, 1}


def test_changes_wait_for_the_end_of_an_episode():
    record = run(make_clock(Drift.draws(SOURCES, Periodic(10))), 30, episode=7)
    # due at 10, 20, 30; episodes end at 7, 14, 21, 28
    assert [phase for phase, _, _ in record] == [0] * 14 + [1] * 7 + [2] * 9
    assert [t for t, (_, _, changed) in enumerate(record) if changed] == [14, 21]


def test_changes_at_their_step_do_not_wait():
    record = run(make_clock(Drift.draws(SOURCES, Periodic(10), change_at="step")), 30)
    assert [phase for phase, _, _ in record] == [0] * 10 + [1] * 10 + [2] * 10


def test_phases_that_are_skipped_are_not_counted():
    drift = Drift({"mass": Steps((1, 2, 3), Periodic(10))})
    record = run(make_clock(drift), 60, episode=30)  # 30 steps later the cycle is where it was
    assert {(phase, context_id) for phase, context_id, _ in record} == {(0, 0)}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    stop=st.integers(0, 120),
    change_at=st.sampled_from(["step", "episode_end"]),
    times=st.sampled_from([Periodic(11), Geometric(9), Listed((5, 6, 70))]),
)
def test_a_restored_clock_goes_on_exactly(seed, stop, change_at, times):
    drift = Drift.draws(SOURCES, times, recurring=3, change_at=change_at)
    whole = run(make_clock(drift, seed), 150)
    clock = make_clock(drift, seed)
    run(clock, stop)
    state = json.loads(json.dumps(clock.get_state()))
    again = Clock.from_state(Drift.from_json(json.loads(json.dumps(drift.to_json()))), state)
    again.drift_within = change_at == "step"
    record = []
    for t in range(stop, 150):
        if (t % 7 == 0 or again.drift_within) and again.due:
            again.advance()
        record.append((again.phase, again.context_id, again.changed))
        again.tick()
    assert record == whole[stop:]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), other=st.integers(0, 2**32))
def test_the_seed_alone_decides(seed, other):
    drift = Drift.draws(SOURCES, Geometric(20))

    def first_contexts(s):
        lifetime = Lifetime(drift, s)
        return [lifetime.context(i) for i in range(5)]

    assert first_contexts(seed) == first_contexts(seed)
    assert (first_contexts(seed) == first_contexts(other)) == (seed == other)


def test_an_id_that_never_comes_is_refused():
    lifetime = Lifetime(Drift({"mass": Steps((1, 2), Listed((5,)), cycle=False)}), 0)
    assert lifetime.context(1) == {"mass": 2.0}
    for index in (2, -1):
        with pytest.raises(ValueError, match="no context"):
            lifetime.context(index)


def test_numbers_are_constants_and_do_not_move():
    drift = Drift({"mass": 2, "sign": Draw(Choice((-1, 1)), Periodic(5))})
    assert drift.parameters["mass"] == Constant(2)
    assert drift.moving == {"sign": (-1.0, 1.0)}
    assert Drift.from_json(drift.to_json()) == drift


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Drift({"mass": 1}, change_at="sometimes"), "change_at='sometimes'"),
        (lambda: Drift({"mass": "heavy"}), "no schedule"),
        (lambda: Drift.from_json({"mass": 1}), "keys parameters"),
    ],
)
def test_wrong_drifts_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_state_of_another_version_is_refused_in_a_sentence():
    state = Clock(Drift({"x": 1.0}), 3).get_state()
    del state["held_id"]
    with pytest.raises(ValueError, match="The state of a clock has no held_id, expected seed, step"):
        Clock.from_state(Drift({"x": 1.0}), state)
