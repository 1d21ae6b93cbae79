"""Pairs and Repeat: what they show, what they pay, and that nothing without memory beats chance in them."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs.tasks.pairs import PairsEnv
from envs.tasks.repeat import RepeatEnv

PROBES = ["Memory/Pairs-v0", "Memory/Repeat-v0"]


def episode(env, player, seed=None):
    """The return of player(observation), and the observations [T + 1, O]."""
    observation, _ = env.reset(seed=seed)
    seen, total, over = [observation], 0.0, False
    while not over:
        observation, reward, over, _, _ = env.step(player(observation))
        seen.append(observation)
        total += reward
    return total, np.array(seen)


def silent(observation):
    return 0


class KnowsPairs:
    """Writes every pair down and looks the key up."""

    def __init__(self, env):
        self.bits, self.values = env.key_bits, {}

    def __call__(self, observation):
        key, value, asked = observation[: self.bits], observation[self.bits : -1], observation[-1]
        if asked:
            return self.values[key.tobytes()]
        if value.any():
            self.values[key.tobytes()] = int(value.argmax())
        return 0


class KnowsSymbols:
    """Writes every symbol down and counts back."""

    def __init__(self, env):
        self.back, self.symbols = env.difficulty, []

    def __call__(self, observation):
        if observation[-1]:
            return self.symbols[-1 - self.back]
        self.symbols.append(int(observation[:-1].argmax()))
        return 0


@pytest.mark.parametrize(
    ("env", "player", "asked"),
    [
        *((PairsEnv(k), KnowsPairs, k) for k in (2, 4, 64)),
        (PairsEnv(2, num_values=2, key_bits=1), KnowsPairs, 2),
        (PairsEnv(5, num_values=3, key_bits=16), KnowsPairs, 5),
        *((RepeatEnv(n), KnowsSymbols, 16) for n in (1, 2, 4, 100)),
        (RepeatEnv(3, num_values=7, num_questions=1), KnowsSymbols, 1),
    ],
)
def test_who_remembers_everything_answers_every_question(env, player, asked):
    assert env.asked == asked
    env.reset(seed=0)
    assert {episode(env, player(env))[0] for _ in range(20)} == {asked}


@pytest.mark.parametrize("name", PROBES)
def test_who_keeps_silent_and_guesses_is_right_by_chance(name):
    env = gym.make(name)
    asked, values = env.unwrapped.asked, env.unwrapped.num_values
    question = env.get_wrapper_attr("transition_layout")["observation"][1] - 1
    env.reset(seed=1)
    shares = [episode(env, lambda seen: int(seen[question]))[0] / asked for _ in range(400)]
    # answers are independent: the deviation of one is sqrt(p (1 - p))
    assert abs(np.mean(shares) - 1 / values) < 4 * np.sqrt((values - 1) / values**2 / (400 * asked))


def test_pairs_are_shown_then_silence_then_every_key_is_asked_for_once():
    env, values, places = PairsEnv(5, num_values=3, key_bits=4), [], []
    for seed in range(100):
        _, seen = episode(env, silent, seed)
        assert seen.shape == (12, 8)
        keys, questions = seen[:5, :4], seen[6:11, :4]
        assert (np.abs(keys) == 1).all() and len(np.unique(keys, axis=0)) == 5
        assert (seen[:5, 4:7].sum(1) == 1).all() and not seen[5].any() and not seen[11].any()
        assert seen[:, 7].tolist() == [0] * 6 + [1] * 5 + [0] and not seen[6:, 4:7].any()
        order = (questions[:, None] == keys[None]).all(-1).argmax(1)
        assert sorted(order) == [0, 1, 2, 3, 4]
        values.append(seen[:5, 4:7].argmax(1))
        places.append(order)
    assert min(np.bincount(np.ravel(values), minlength=3)) > 500 / 3 - 4 * np.sqrt(500 * 2 / 9)
    assert all(len(set(column)) == 5 for column in np.array(places).T)  # in any order


def test_symbols_are_shown_then_asked_for_in_turn():
    env, symbols = RepeatEnv(3, num_values=2, num_questions=4), []
    for seed in range(100):
        _, seen = episode(env, silent, seed)
        assert seen.shape == (12, 3)
        assert seen[:, 2].tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0]
        shows = [0, 1, 2, 3, 5, 7, 9]
        assert (seen[shows, :2].sum(1) == 1).all() and not np.delete(seen, shows, 0)[:, :2].any()
        symbols.append(seen[shows, 1])
    assert abs(np.mean(symbols) - 0.5) < 4 * 0.5 / np.sqrt(700)


def actions_of(env, actions):
    """The rewards of a fixed sequence of actions."""
    return [env.step(action)[1] for action in actions]


def test_who_speaks_in_the_silent_step_earns_nothing_from_there_on():
    env = PairsEnv(3, num_values=2)
    for seed in range(20):
        player, seen = KnowsPairs(env), episode(env, silent, seed)[1]
        known = [player(observation) for observation in seen[:7]]
        env.reset(seed=seed)
        assert actions_of(env, [1, 1, 1, 0, *known[4:]]) == [
            0,
            0,
            0,
            0,
            1,
            1,
            1,
        ]  # free while pairs are shown
        env.reset(seed=seed)
        assert actions_of(env, [0, 0, 0, 1, *known[4:]]) == [0] * 7


def test_who_speaks_before_a_question_earns_nothing_with_that_one_alone():
    env = RepeatEnv(1, num_values=2, num_questions=3)
    for seed in range(20):
        _, seen = episode(env, silent, seed)
        s = seen[[0, 1, 3], :2].argmax(1).tolist()
        env.reset(seed=seed)
        assert actions_of(env, [1, 0, s[0], 1, s[1], 0, s[2]]) == [0, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(("kind", "player"), [(PairsEnv, KnowsPairs), (RepeatEnv, KnowsSymbols)])
def test_a_difficulty_is_that_of_the_next_episode_and_saved(kind, player):
    env, twin = kind(5), kind(2)
    env.reset(seed=0)
    length = len(env.script.answers)
    env.step(0)
    env.set_difficulty(3)
    twin.set_state(env.get_state())
    left = [twin.step(0)[0].tolist() for _ in range(length - 1)]
    assert [env.step(0)[0].tolist() for _ in range(length - 1)] == left
    for one in (env, twin):
        one.reset()
        assert len(one.script.answers) == len(kind(3).write(3).answers) < length
        with pytest.raises(ValueError, match="expected"):
            one.set_difficulty(0)


def test_the_last_step_tells_the_share_of_right_answers():
    env = RepeatEnv(2, num_questions=4)
    player, (observation, _), over = KnowsSymbols(env), env.reset(seed=3), False
    while not over:
        right = player(observation)
        wrong = observation[-1] and env.time > 6  # the last two of the questions
        observation, _, over, _, info = env.step((right + 1) % 4 if wrong else right)
        assert info == ({"share_right": 0.5} if over else {})


def small(name, **kwargs):
    """A probe of two values small enough to play every episode it has, and those episodes, by seed."""
    env = gym.make(name, num_values=2, **kwargs)
    seeds = {}
    for seed in range(400):
        seeds.setdefault(episode(env.unwrapped, silent, seed)[1].tobytes(), seed)
    return env, sorted(seeds.values())


def after_silence(env, seeds):
    """Whatever an agent may see at a question, by what it has seen at the questions before; after silence."""
    layout = env.get_wrapper_attr("transition_layout")
    seen = set()
    for seed in seeds:
        for answers in product(range(2), repeat=env.unwrapped.asked):
            left, (observation, _), over = list(answers), env.reset(seed=seed), False
            while not over:
                asked = observation[layout["observation"][1] - 1]
                if asked:
                    seen.add(observation.tobytes())
                observation, _, over, _, _ = env.step(left.pop(0) if asked else 0)
    return sorted(seen)


@pytest.mark.parametrize(
    ("name", "kwargs", "episodes"),
    [
        (
            "Memory/Pairs-v0",
            {"num_pairs": 2, "key_bits": 1},
            2 * 4 * 2,
        ),  # keys, values, order of the questions
        ("Memory/Repeat-v0", {"back": 1, "num_questions": 3}, 2**4),
        ("Memory/Repeat-v0", {"back": 2, "num_questions": 2}, 2**4),
    ],
)
def test_every_rule_without_memory_is_right_by_chance_exactly(name, kwargs, episodes):
    """All deterministic rules for what is seen at questions, over all episodes, each as likely as the others.

    A sender before the silence can only choose in which of these episodes to speak, which earns nothing.
    """
    env, seeds = small(name, **kwargs)
    assert len(seeds) == episodes
    seen = after_silence(env, seeds)
    question = env.get_wrapper_attr("transition_layout")["observation"][1] - 1
    assert len(seen) <= 10
    for answers in product(range(2), repeat=len(seen)):
        rule = dict(zip(seen, answers, strict=True))
        total = sum(
            episode(env, lambda o, rule=rule: rule[o.tobytes()] if o[question] else 0, seed)[0]
            for seed in seeds
        )
        assert total == env.unwrapped.asked * len(seeds) / 2


@pytest.mark.parametrize("name", PROBES)
def test_what_is_seen_first_after_silence_hangs_on_nothing_that_was_said_or_is_asked_for(name):
    """With the same question (and, in Repeat, the same last symbol) in view, every episode looks the same."""
    env = gym.make(
        name, num_values=2, **({"num_pairs": 2, "key_bits": 1} if "Pairs" in name else {"back": 1})
    )
    layout = env.get_wrapper_attr("transition_layout")
    question, rng, looks = layout["observation"][1] - 1, np.random.default_rng(0), {}
    for seed in range(60):
        before, (observation, _) = None, env.reset(seed=seed)
        while not observation[question]:
            blank = env.unwrapped.script.silent[env.unwrapped.time]
            before = observation
            observation = env.step(0 if blank else int(rng.integers(2)))[0]
        stated = observation[:question].tobytes() + (before[:question].tobytes() if "Repeat" in name else b"")
        looks.setdefault(stated, set()).add(observation.tobytes())
    assert len(looks) == 2 and all(len(same) == 1 for same in looks.values())


def test_a_value_passed_on_by_the_last_action_does_not_pay():
    """Says the last pair's value in the silent step, and answers it: heard only where that was 0."""
    env = gym.make("Memory/Pairs-v0")
    layout, values = env.get_wrapper_attr("transition_layout"), slice(8, 12)

    def smuggles(observation):
        change, said = observation[slice(*layout["change"])], observation[slice(*layout["action"])]
        if observation[layout["observation"][1] - 1]:
            return int(said.argmax())
        return int(change[values].argmin()) if not observation[:12].any() else 0

    env.reset(seed=0)
    returns = [episode(env, smuggles)[0] for _ in range(600)]
    expected = (1 + 3 / 4) / 4  # the last pair's value was 0, and one of the other three may be
    assert abs(np.mean(returns) - expected) < 4 * np.std(returns) / np.sqrt(600)
    assert expected < 4 / 4


@pytest.mark.parametrize("name", PROBES)
def test_the_same_seed_gives_the_same_stream_and_another_one_another(name):
    first, again, other = (gym.make(name) for _ in range(3))
    streams = [
        [episode(env, silent, seed if t == 0 else None)[1].tobytes() for t in range(5)]
        for env, seed in ((first, 7), (again, 7), (other, 8))
    ]
    assert streams[0] == streams[1] != streams[2]
    assert len(set(streams[0])) == 5


def test_the_size_of_what_is_seen_does_not_hang_on_the_difficulty():
    assert len({gym.make("Memory/Pairs-v0", num_pairs=k).observation_space.shape for k in (2, 8, 64)}) == 1
    assert len({gym.make("Memory/Repeat-v0", back=n).observation_space.shape for n in (1, 8, 64)}) == 1
    vec = envs.make_vec("Memory/Pairs-v0", 2, seed=0, num_pairs=64)
    assert [env.unwrapped.difficulty for env in vec.envs] == [64, 64]


@pytest.mark.parametrize(
    ("kind", "wrong", "sentence"),
    [
        (
            PairsEnv,
            {"num_pairs": 1},
            "num_pairs=1, expected 2 to 256 pairs, one for each key of 8 bits: change num_pairs",
        ),
        (PairsEnv, {"num_pairs": 5, "key_bits": 2}, "num_pairs=5, expected 2 to 4 pairs"),
        (PairsEnv, {"key_bits": 0}, "key_bits=0, expected a key's bits: give 1 to 16"),
        (PairsEnv, {"num_values": 1}, "num_values=1, expected values to tell apart: give 2 or more"),
        (RepeatEnv, {"back": 0}, "back=0, expected a number of symbols: give 1 or more"),
        (RepeatEnv, {"num_questions": 0}, "num_questions=0, expected"),
        (RepeatEnv, {"num_values": 1}, "num_values=1, expected"),
    ],
)
def test_arguments_that_make_no_probe_are_refused_in_a_sentence(kind, wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(**wrong)
