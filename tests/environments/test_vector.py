"""Vector environments: a lifetime for each environment, the same behind both interfaces, in any process."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv

import envs
from envs import make_vec
from envs.plants.mujoco import without_deprecations

CARTPOLE, PENDULUM = "Drift/CartPole-v0", "Drift/Pendulum-v0"


def clocks(vec):
    return list(vec.get_attr("clock"))


def test_both_faces_live_the_same_lifetimes():
    sb3 = make_vec(CARTPOLE, 3, seed=7, phase_steps=30)
    gymnasium = make_vec(CARTPOLE, 3, seed=7, api="gymnasium", phase_steps=30)
    assert isinstance(sb3, VecEnv) and isinstance(gymnasium, gym.vector.VectorEnv)
    np.testing.assert_array_equal(sb3.reset(), gymnasium.reset()[0])
    contexts = [[c.lifetime.context(i) for c in clocks(vec) for i in range(5)] for vec in (sb3, gymnasium)]
    assert contexts[0] == contexts[1]
    assert sb3.get_attr("lifetime_seed") == [c.seed for c in clocks(gymnasium)]
    # SB3 resets in the step that ends an episode, Gymnasium in the one after: equal until the first end
    for t in range(8):
        action = np.array([t % 2, 1 - t % 2, t // 2 % 2])
        observations, rewards, dones, infos = sb3.step(action)
        others, other_rewards, terminated, _, info = gymnasium.step(action)
        assert not dones.any() and not terminated.any()
        np.testing.assert_array_equal(observations, others)
        np.testing.assert_array_equal(rewards, other_rewards)
        assert [i["phase"] for i in infos] == info["phase"].tolist()
        assert [i["context"]["force"] for i in infos] == info["context"]["force"].tolist()


@pytest.mark.parametrize("name", ["envs:Drift/CartPole-v0", "Drift/CartPole", "envs:Drift/CartPole"])
@pytest.mark.filterwarnings("ignore:.*the latest versioned environment")
def test_every_spelling_of_an_id_is_the_same_environment(name):
    assert envs.canonical_id(name) == CARTPOLE
    assert envs.canonical_id(f"other:{CARTPOLE}") == f"other:{CARTPOLE}"
    vec, usual = make_vec(name, np.int64(2), seed=0), make_vec(CARTPOLE, 2, seed=0)
    assert type(vec) is type(usual)
    np.testing.assert_array_equal(vec.reset(), usual.reset())


def test_what_does_not_drift_has_no_clock_to_share():
    with pytest.raises(ValueError, match="CartPole-v1 has no clock to share"):
        make_vec("CartPole-v1", 2, shared_clock=True)


def test_every_environment_and_every_seed_has_a_lifetime_of_its_own():
    seeds = [c.seed for seed in range(3) for c in clocks(reset(make_vec(CARTPOLE, 4, seed)))]
    assert len(set(seeds)) == 12
    assert seeds[:2] == [c.seed for c in clocks(reset(make_vec(CARTPOLE, 2, 0)))]
    unseeded = [c.seed for c in clocks(reset(make_vec(CARTPOLE, 2)))]
    assert not set(unseeded) & set(seeds)


def reset(vec):
    vec.reset()
    return vec


def test_a_seed_given_later_starts_new_lifetimes():
    vec = make_vec(CARTPOLE, 2, seed=0)
    vec.reset()
    for _ in range(30):
        vec.step(np.zeros(2, int))
    vec.seed(5)
    vec.reset()
    assert [(c.seed, c.step) for c in clocks(vec)] == [(5, 0), (6, 0)]


@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode)[:2])
def test_autoreset_steps_do_not_move_the_clock(mode):
    makers = [lambda: gym.make(CARTPOLE, seed=0, phase_steps=40) for _ in range(2)]
    vec = gym.vector.SyncVectorEnv(makers, autoreset_mode=mode)
    vec.reset()
    real, over = np.zeros(2, int), np.zeros(2, bool)
    for _ in range(150):
        _, _, terminated, truncated, _ = vec.step(np.array([0, 1]))
        real += ~over if mode == gym.vector.AutoresetMode.NEXT_STEP else 1
        over = terminated | truncated
    assert [c.step for c in clocks(vec)] == real.tolist()
    if mode == gym.vector.AutoresetMode.NEXT_STEP:
        assert (real < 150).all()


def test_a_frozen_context_holds_through_the_resets_of_a_vec_env():
    vec = make_vec(CARTPOLE, 2, seed=1, phase_steps=20)
    vec.reset()
    held = envs.contexts(CARTPOLE, "held_out", 2)
    vec.set_options([{"context": context, "frozen": True} for context in held])
    vec.reset()
    dones = 0
    for _ in range(100):
        _, _, done, infos = vec.step(np.array([0, 1]))
        dones += done.sum()
        assert [info["context"] for info in infos] == held
        assert not any(info["phase_changed"] for info in infos)
    assert dones > 4 and [c.step for c in clocks(vec)] == [0, 0]
    vec.set_options({"frozen": False})
    vec.reset()
    assert vec.step(np.array([0, 1]))[3][0]["context"] == clocks(vec)[0].context != held[0]


def test_phase_changes_ride_on_steps_and_on_reset_infos():
    vec = make_vec(CARTPOLE, 1, seed=1, phase_steps=20)
    vec.reset()
    phase, changes, expected = 0, 0, False
    for _ in range(200):
        _, _, done, (info,) = vec.step(np.array([0]))
        assert info["phase_changed"] == expected
        assert info["phase"] == phase + expected
        phase, changes = info["phase"], changes + info["phase_changed"]
        expected = bool(done[0]) and vec.reset_infos[0]["phase_changed"]
    assert changes > 4


@pytest.mark.parametrize("name", [CARTPOLE, PENDULUM, "Drift/PointGoals-v0", *envs.PROBES, "Acrobot-v1"])
def test_every_id_shows_its_transitions_and_its_episodes(name):
    vec = make_vec(name, 2, seed=0)
    layout = vec.get_attr("transition_layout")[0]
    observations = vec.reset()
    assert observations.shape == (2, layout["start"][1])
    assert observations[:, -1].tolist() == [1, 1]
    bare = make_vec(name, 1, transition_observation=False)
    assert bare.observation_space.shape == (layout["observation"][1],)
    assert not bare.has_attr("transition_layout")


def test_monitored_episodes_report_their_return():
    vec = make_vec("Memory/Recall-v0", 1, seed=0)
    vec.reset()
    info = [vec.step(np.array([0]))[3][0] for _ in range(8)][-1]
    assert info["episode"]["l"] == 8


@pytest.mark.parametrize("api", ["sb3", "gymnasium"])
def test_workers_in_other_processes_live_the_same_lifetimes(api):
    kwargs = {"seed": 3, "api": api, "phase_steps": 10}
    here, there = make_vec(CARTPOLE, 2, **kwargs), make_vec(CARTPOLE, 2, subprocess=True, **kwargs)
    try:
        first, second = here.reset(), there.reset()
        if api == "gymnasium":
            first, second = first[0], second[0]
        np.testing.assert_array_equal(first, second)
        for t in range(40):
            action = np.array([t % 2, t // 2 % 2])
            np.testing.assert_array_equal(here.step(action)[0], there.step(action)[0])
    finally:
        there.close()


def test_gymnasiums_own_make_vec_finds_the_ids_in_its_workers():
    vec = gym.make_vec(CARTPOLE, 2, vectorization_mode="async", schedule="cycle")
    try:
        observations, info = vec.reset(seed=0)
        assert observations.shape == (2, 8) and info["phase"].tolist() == [0, 0]
    finally:
        vec.close()


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [({"num_envs": 0}, "at least 1 environment"), ({"api": "jax"}, 'expected "sb3" or "gymnasium"')],
)
def test_wrong_arguments_are_refused_in_a_sentence(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_vec(CARTPOLE, **kwargs)


@pytest.mark.parametrize("batched", [True, False])
def test_a_shared_clock_is_one_lifetime_in_episodes_of_their_own(batched):
    vec = make_vec(CARTPOLE, 4, 3, batched=batched, shared_clock=True, phase_steps=9, change_at="step")
    first = vec.reset()
    assert len({tuple(row) for row in first.tolist()}) == 4
    contexts = []
    for t in range(60):
        infos = vec.step(np.array([0, 1, t % 2, 1]))[3]
        contexts.append(infos[0]["context"])
        assert all(info["context"] == contexts[-1] and info["phase"] == t // 9 for info in infos)
    vec.seed(8)
    vec.reset()  # other episodes, the same contexts from their start
    again = [vec.step(np.array([0, 1, t % 2, 1]))[3][3]["context"] for t in range(60)]
    assert again == contexts
    other = make_vec(CARTPOLE, 1, 4, shared_clock=True, phase_steps=9)
    other.reset()
    assert other.step(np.array([0]))[3][0]["context"] != contexts[0]


@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.int32])
def test_seeds_may_be_numpys(kind):
    single = gym.make("Drift/CartPole-v0")
    np.testing.assert_array_equal(single.reset(seed=kind(3))[0], single.reset(seed=3)[0])
    vec = envs.make_vec("Drift/CartPole-v0", 2, api="gymnasium")
    expected, _ = vec.reset(seed=3)
    for seed in (kind(3), [kind(3), kind(4)]):
        np.testing.assert_array_equal(vec.reset(seed=seed)[0], expected)


@pytest.mark.parametrize("name", ["Drift/HalfCheetah-v0", "Drift/HalfCheetahVel-v0", "HalfCheetah-v5"])
def test_mujocos_compiler_does_not_repeat_what_it_says_of_gymnasiums_models(
    name, capfd, tmp_path, monkeypatch
):
    mujoco = pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings there, too
    before = mujoco.get_mju_user_warning()
    make_vec(name, 2, 0).close()
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    assert mujoco.get_mju_user_warning() is before
    with without_deprecations("mujoco"):
        mujoco.get_mju_user_warning()("the simulation is unstable")
    assert capfd.readouterr().err == "WARNING: the simulation is unstable\n"


@pytest.mark.filterwarnings("ignore:.*Using the latest versioned environment")
@pytest.mark.parametrize("name", ["gymnasium.envs:CartPole-v1", "CartPole"])
def test_an_id_may_name_its_module_and_leave_out_its_version(name):
    np.testing.assert_array_equal(
        make_vec(name, 2, seed=0).reset(), make_vec("CartPole-v1", 2, seed=0).reset()
    )
