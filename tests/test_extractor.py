import copy
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecFrameStack, VecNormalize

import envs
from memagent.extractor import MemoryExtractor
from memagent.layout import start_index, transition_layout
from memagent.memory import MemoryConfig
from memagent.memory.bank import parse_interface

K, OBS, D, B, Z = 5, 3, 8, 4, 2
SMALL = MemoryConfig(memory_size=6, memory_dim=5, num_read_heads=2, hidden_size=16, backend="reference")
KINDS = [replace(SMALL, kind=kind) for kind in ("dnc", "lstm", "gru", "none")]


def box(*shape):
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def extractor_for(space, **kwargs):
    torch.manual_seed(0)
    return MemoryExtractor(space, features_dim=D, **({"memory": SMALL, "start_index": -1} | kwargs))


def window(seed=0, first=None):
    """[B, K, OBS] observations whose last column is 1 at row `first` alone."""
    x = torch.randn(B, K, OBS, generator=torch.Generator().manual_seed(seed))
    x[..., -1] = 0.0
    if first is not None:
        x[:, first, -1] = 1.0
    return x


class ShortEpisodes(gym.Env):
    """Observations [episode / 10, step / 10, start flag]; the episode number n has n + 2 observations."""

    observation_space, action_space = box(3), spaces.Discrete(2)

    def __init__(self):
        self.episode, self.t = -1, 0

    def _observation(self):
        return np.array([self.episode / 10, self.t / 10, self.t == 0], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._observation(), {}

    def step(self, action):
        self.t += 1
        return self._observation(), 0.0, self.t > self.episode, False, {}


@pytest.mark.parametrize("memory", KINDS, ids=lambda m: m.kind)
@pytest.mark.parametrize("first", [None, 0, 3])
def test_forward_is_the_unroll_of_the_window(memory, first):
    extractor, x = extractor_for(box(K, OBS), memory=memory), window(first=first)
    start = torch.zeros(K, B, dtype=torch.bool)
    if first is not None:
        start[first] = True
    features, _ = extractor.unroll(x.transpose(0, 1), start, extractor.initial_state(B))
    assert features.shape == (K, B, D) and extractor.features_dim == D
    assert torch.equal(extractor(x), features[-1])


@pytest.mark.parametrize("memory", KINDS, ids=lambda m: m.kind)
def test_forward_tells_a_context_of_zeros_and_unroll_the_one_it_is_given(memory):
    extractor, x = extractor_for(box(K, OBS), memory=memory, context_dim=Z), window(first=2)
    start, empty = x.transpose(0, 1)[..., -1] > 0.5, extractor.initial_state(B)

    def unrolled(context):
        told = torch.full((K, B, Z), context)
        return extractor.unroll(torch.cat((x.transpose(0, 1), told), -1), start, empty)[0][-1]

    assert torch.equal(extractor(x), unrolled(0.0))
    assert (unrolled(1.0) - unrolled(0.0)).abs().max() > 1e-3


@pytest.mark.parametrize("memory", KINDS[:2], ids=lambda m: m.kind)
@pytest.mark.parametrize("context_dim", [0, Z])
def test_with_a_context_features_begin_without_memory_and_learn_to_use_it(memory, context_dim):
    extractor = extractor_for(box(OBS), memory=memory, context_dim=context_dim)
    x = torch.randn(K, B, OBS + context_dim, generator=torch.Generator().manual_seed(1))

    def memory_tells():
        """Whether the last features hang on what was seen before."""
        forgets = torch.zeros(K, B, dtype=torch.bool)
        forgets[-1] = True
        remembered, forgotten = (
            extractor.unroll(x, start, extractor.initial_state(B))[0][-1]
            for start in (torch.zeros_like(forgets), forgets)
        )
        return (remembered - forgotten).abs().max().item() > 1e-4

    assert memory_tells() == (context_dim == 0)
    features, _ = extractor.unroll(x, torch.zeros(K, B, dtype=torch.bool), extractor.initial_state(B))
    features.sum().backward()
    with torch.no_grad():
        for p in extractor.parameters():
            p.add_(0.1 * p.grad)
    assert memory_tells()


def test_flat_and_stacked_windows_are_the_same_window():
    stacked, flat = extractor_for(box(K, OBS)), extractor_for(box(K * OBS), num_stack=K)
    assert torch.equal(stacked(window(first=2)), flat(window(first=2).flatten(1)))


def test_a_single_observation_is_a_window_of_one():
    x = window()[:, 0]
    one_row = extractor_for(box(1, OBS))(x[:, None])
    assert torch.equal(extractor_for(box(OBS))(x), one_row)


def test_what_lies_before_the_start_flag_leaves_no_trace():
    extractor, x = extractor_for(box(K, OBS)), window(first=2)
    other = x.clone()
    other[:, :2] = torch.randn(B, 2, OBS)
    other[:, :2, -1] = 0.0
    assert torch.equal(extractor(x), extractor(other))
    x[:, 2, -1], other[:, 2, -1] = 0.0, 0.0  # the null: without the flag it does
    assert (extractor(x) - extractor(other)).abs().max() > 1e-4


def test_without_a_start_column_every_row_counts():
    extractor, x = extractor_for(box(K, OBS), start_index=None), window(first=2)
    padded = x.clone()
    padded[:, :2] = 0.0
    assert (extractor(x) - extractor(padded)).abs().max() > 1e-4


def test_the_start_column_may_lie_anywhere():
    last, first = extractor_for(box(K, OBS)), extractor_for(box(K, OBS), start_index=0)
    x = window(first=3)
    with torch.no_grad():
        first.encoder[0].weight.copy_(last.encoder[0].weight.roll(1, dims=1))
    torch.testing.assert_close(first(x.roll(1, dims=2)), last(x))


def episodes_of(steps):
    """The observations of ShortEpisodes as [steps, 3], each with those of its episode so far."""
    env, histories = ShortEpisodes(), []
    history = [env.reset()[0]]
    for _ in range(steps):
        histories.append(np.stack(history[-K:]))
        obs, _, done, _, _ = env.step(0)
        history = [env.reset()[0]] if done else [*history, obs]
    return histories


def features_of(extractor, history):
    x = torch.as_tensor(history)[:, None]
    features, _ = extractor.unroll(x, torch.zeros(len(x), 1, dtype=torch.bool), extractor.initial_state(1))
    return features[-1]


def test_zero_padding_and_autoreset_of_vec_frame_stack_leave_no_trace():
    vec = VecFrameStack(DummyVecEnv([ShortEpisodes]), K)
    extractor, obs = extractor_for(vec.observation_space, num_stack=K), vec.reset()
    assert (obs[0, :-OBS] == 0.0).all()
    for history in episodes_of(25):  # episodes shorter and longer than the window
        torch.testing.assert_close(extractor(torch.as_tensor(obs)), features_of(extractor, history))
        obs, _, _, _ = vec.step(np.array([0]))


def test_repeated_padding_of_frame_stack_observation_leaves_no_trace():
    env = FrameStackObservation(ShortEpisodes(), K)
    extractor, (obs, _) = extractor_for(env.observation_space), env.reset()
    assert (obs == obs[-1]).all()
    for history in episodes_of(25):
        torch.testing.assert_close(extractor(torch.as_tensor(obs)[None]), features_of(extractor, history))
        obs, _, done, _, _ = env.step(0)
        if done:
            obs, _ = env.reset()


def test_gradients_reach_every_weight():
    extractor = extractor_for(box(K, OBS))
    extractor(window(first=1)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0.0 for p in extractor.parameters())


def test_a_deep_copy_is_equal_and_independent():
    extractor = extractor_for(box(K, OBS))
    twin, before = copy.deepcopy(extractor), extractor(window())
    with torch.no_grad():
        for p in extractor.parameters():
            p.add_(0.1)
    assert torch.equal(twin(window()), before) and not torch.equal(extractor(window()), before)


@pytest.mark.parametrize(
    ("space", "kwargs", "sentence"),
    [
        (spaces.Discrete(3), {}, "expected a Box of shape"),
        (spaces.Dict({"a": box(2)}), {}, "expected a Box of shape"),
        (box(3, 8, 8), {}, "flatten the observation"),
        (box(), {}, "expected a Box of shape"),
        (box(7), {"num_stack": 2}, "has 7 numbers, expected a multiple of num_stack=2"),
        (box(4, 3), {"num_stack": 2}, "has 4 rows, expected num_stack=2"),
        (box(4), {"num_stack": 0}, "num_stack is 0, expected 1 or more"),
        (
            box(6),
            {"num_stack": 2, "start_index": 3},
            "start_index is 3, expected a column of an observation of 3",
        ),
        (box(6), {"num_stack": 2, "start_index": -4}, "start_index is -4"),
        (box(6), {"features_dim": 0}, "features_dim is 0, expected 1 or more"),
    ],
)
def test_a_wrong_space_is_refused_in_one_sentence(space, kwargs, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        MemoryExtractor(space, **({"memory": SMALL} | kwargs))
    assert "\n" not in str(error.value)


def stacked_env(name, form, num_envs=1):
    if form == "VecFrameStack":
        return VecFrameStack(make_vec_env(name, n_envs=num_envs, seed=0), K)
    return make_vec_env(
        name, n_envs=num_envs, seed=0, wrapper_class=lambda env: FrameStackObservation(env, K)
    )


def policy_kwargs(form, env):
    kwargs = {"features_dim": D, "memory": SMALL, "start_index": start_index(env)} | (
        {"num_stack": K} if form == "VecFrameStack" else {}
    )
    return {
        "features_extractor_class": MemoryExtractor,
        "features_extractor_kwargs": kwargs,
        "net_arch": [16],
    }


OFF_POLICY = {
    "learning_starts": 40,
    "train_freq": 8,
    "gradient_steps": 1,
    "batch_size": 16,
    "buffer_size": 500,
}
ALGORITHMS = {
    "ppo": (PPO, "Drift/CartPole-v0", {"n_steps": 64, "batch_size": 32, "n_epochs": 2}),
    "dqn": (DQN, "Drift/CartPole-v0", OFF_POLICY | {"target_update_interval": 50}),
    "sac": (SAC, "Drift/Pendulum-v0", OFF_POLICY),
    "td3": (TD3, "Drift/Pendulum-v0", OFF_POLICY),
}


@pytest.mark.parametrize("form", ["VecFrameStack", "FrameStackObservation"])
@pytest.mark.parametrize(("algorithm", "name", "settings"), ALGORITHMS.values(), ids=ALGORITHMS.keys())
def test_stock_algorithms_train_the_memory(algorithm, name, settings, form):
    env = stacked_env(name, form)
    model = algorithm(
        "MlpPolicy", env, policy_kwargs=policy_kwargs(form, env), seed=0, device="cpu", **settings
    )
    extractors = {
        name: module for name, module in model.policy.named_modules()
        if isinstance(module, MemoryExtractor) and "target" not in name
    }  # fmt: skip
    assert extractors
    before = {name: copy.deepcopy(extractor.state_dict()) for name, extractor in extractors.items()}
    model.learn(256)
    for name, extractor in extractors.items():
        for key, value in extractor.state_dict().items():
            assert value.isfinite().all()
            assert not torch.equal(value, before[name][key]), f"{name}.{key} did not learn"
    env.close()


def test_stock_ppo_plays_alike_after_save_and_load(tmp_path):
    env = stacked_env("Drift/CartPole-v0", "VecFrameStack", num_envs=2)
    model = PPO("MlpPolicy", env, policy_kwargs=policy_kwargs("VecFrameStack", env), n_steps=32, batch_size=32,
                n_epochs=1, seed=0, device="cpu")  # fmt: skip
    model.learn(64)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env=env, device="cpu")
    obs = env.reset()
    for _ in range(20):
        tensor = model.policy.obs_to_tensor(obs)[0]
        probabilities = model.policy.get_distribution(tensor).distribution.probs
        assert torch.equal(probabilities, loaded.policy.get_distribution(tensor).distribution.probs)
        obs, _, _, _ = env.step(model.predict(obs, deterministic=True)[0])
    extractor = loaded.policy.features_extractor
    assert extractor.memory.config == SMALL and extractor.num_stack == K
    loaded.learn(64)
    env.close()


def test_without_a_named_column_no_number_empties_the_memory():
    extractor, x = extractor_for(box(K, OBS)), window(first=2)
    plain = MemoryExtractor(box(K, OBS), D, SMALL)
    plain.load_state_dict(extractor.state_dict())
    empty, no_start = plain.initial_state(B), torch.zeros(K, B, dtype=torch.bool)
    assert torch.equal(plain(x), plain.unroll(x.transpose(0, 1), no_start, empty)[0][-1])
    assert not torch.equal(plain(x), extractor(x))


@pytest.mark.parametrize("batched", [True, False])
def test_the_layout_of_stacked_observations_is_that_of_the_newest(batched):
    one = envs.make_vec("Drift/CartPole-v0", 3, seed=0, batched=batched)
    layout, size = transition_layout(one), one.observation_space.shape[0]
    assert start_index(one) == size - 1
    for k, env in ((2, VecFrameStack(one, 2)), (6, VecCheckNan(VecFrameStack(VecFrameStack(one, 2), 3)))):
        shifted = {name: ((k - 1) * size + a, (k - 1) * size + b) for name, (a, b) in layout.items()}
        assert transition_layout(env) == shifted and start_index(env) == size - 1
        obs = env.reset()
        assert (obs[:, shifted["start"][0]] == 1.0).all() and (obs[:, : (k - 1) * size] == 0.0).all()


def test_a_layout_that_does_not_fit_the_observation_is_refused():
    def make():
        return gym.wrappers.FlattenObservation(FrameStackObservation(gym.make("Drift/CartPole-v0"), K))

    for read in (start_index, transition_layout):
        with pytest.raises(
            ValueError, match="fits observations of 8 numbers, and its observation space is Box"
        ):
            read(DummyVecEnv([make]))


def test_a_flag_that_is_scaled_is_refused():
    env = envs.make_vec("Drift/CartPole-v0", 2, seed=0)
    assert start_index(VecNormalize(env, norm_obs=False)) == start_index(env)
    with pytest.raises(ValueError, match="VecNormalize, which scales the start flag"):
        start_index(VecNormalize(env))


def test_where_nothing_is_appended_there_is_no_flag():
    env = VecFrameStack(make_vec_env("CartPole-v1"), K)
    assert start_index(env) is None and transition_layout(env) is None


def test_addressing_stays_sharp_under_sb3s_initialisation():
    env = stacked_env("Drift/CartPole-v0", "VecFrameStack")
    model = PPO("MlpPolicy", env, policy_kwargs=policy_kwargs("VecFrameStack", env), seed=0, device="cpu")
    memory = model.policy.features_extractor.memory
    assert (memory.interface.bias == 0.0).all()  # PPO sets every Linear's bias to zero
    interface = memory.interface(memory.controller_norm(torch.randn(64, SMALL.hidden_size)))
    assert parse_interface(interface, SMALL).read_strengths.mean() > 5.0
    assert parse_interface(interface, replace(SMALL, strength_bias=0.0)).read_strengths.mean() < 3.0
    env.close()
