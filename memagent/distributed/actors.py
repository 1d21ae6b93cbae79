"""The learner's side of its actors: orders out, stretches in, at the ratio and the age of weights that are asked for.

    actor:    weights -> `stretch` steps of its environments -> rows, states, priorities    (a call, `ahead` under way)
    learner:  the stretch that is there first -> replay -> the updates that are due -> weights, every so many updates

An actor acts when it is asked to. So what is under way is bounded, and rows wait for updates no more than updates for
rows. Each stretch comes with the state that the actor has after it, which stays in the actor's machine until it is
wanted. Where an actor is lost another one goes on from the last stretch that was taken in: what was not is acted anew,
and no row comes twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn

from memagent.agents import MemoryAlgorithm
from memagent.distributed.actor import Actor, ActorState, Environments, Share
from memagent.distributed.elsewhere import Elsewhere
from memagent.distributed.stretches import Stretch, store
from memagent.run_config import RunConfig

SECONDS_PER_LOOK = 0.5
SECONDS_TO_BEGIN = 120.0
"""How long the first actors wait for the others, so that all environments have their part from the start; a cluster may
have no room for some."""
MOST_LOSSES = 3
"""Losses of an actor in a row, without a stretch in between, that are no accident."""


class ActorLostError(Exception):
    """An actor is lost whenever it begins; the message is one sentence."""


class Host:
    """A process of Ray's with an `Actor` in it; apart from its beginning, so that an error there is told as it is."""

    def begin(self, *given: Any, **named: Any) -> None:
        """Make the actor."""
        self._actor = Actor(*given, **named)

    def collect(self, *given: Any) -> tuple[Stretch, ActorState]:
        """See `Actor.collect`."""
        return self._actor.collect(*given)


@dataclass
class Order:
    """A call of an actor that is under way: its results, which weights it has, and how many orders came before it."""

    stretch: ray.ObjectRef
    state: ray.ObjectRef
    version: int
    number: int


@dataclass
class Slot:
    """A share of the environments, and the actor that has it now."""

    share: Share
    state: ActorState | ray.ObjectRef | None = None
    """Where its actor stands after the last stretch that was taken in; None: nothing is known."""
    actor: ActorHandle | None = None
    beginning: ray.ObjectRef | None = None
    """There as soon as the actor has begun; None from then on."""
    orders: deque[Order] = field(default_factory=deque)
    taken: bool = False
    """Whether a stretch of it was taken in."""
    losses: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def envs(self) -> NDArray[np.int64]:
        """The numbers of its environments, [e]."""
        return self.share.first + np.arange(self.share.num_envs)


class Actors:
    """Collects an agent's experience by actors on the Ray cluster that this process is connected to.

    Args:
        agent: the learner; its replay is filled, and its counters count.
        config: of the training.
        environments: how they are made, on the actors' machines too.
        states: of the environments of each actor, by `get_state`, from a checkpoint whose other arrays the agent
            holds; None: they begin.

    Attributes:
        replaced: how many actors were lost, and another one begun.
    """

    def __init__(
        self,
        agent: MemoryAlgorithm,
        config: RunConfig,
        environments: Environments,
        states: Sequence[dict[str, Any] | None] | None = None,
    ) -> None:
        self._agent, self._config, self._environments = agent, config, environments
        count = agent.n_envs // config.actors
        self._slots = [Slot(Share(i * count, count)) for i in range(config.actors)]
        self._weights: ray.ObjectRef | None = None
        self._version = 0
        self._orders = 0
        self._since = 0  # steps before this rollout
        self._told: list[dict[str, Any]] = [{} for _ in range(agent.n_envs)]
        self._ages: list[int] = []
        self._waited, self._logged = 0.0, time.monotonic()
        self._gathered_until: float | None = (
            None  # the time up to which actors are waited for; None: not begun
        )
        self.replaced = 0
        if states is not None:
            self._restore(states)

    def _restore(self, states: Sequence[dict[str, Any] | None]) -> None:
        """Let each actor go on where the checkpoint's did."""
        acting, held, obs = (
            self._agent.acting.state_dict(),
            self._agent.held.state_dict(),
            self._agent._last_obs,
        )
        for slot, state in zip(self._slots, states, strict=True):
            if state is None:
                self._agent.replay_buffer.seam(slot.envs)
                continue
            slot.state = ActorState(
                state,
                {name: part[slot.envs] for name, part in acting.items()},
                {name: part[slot.envs] for name, part in held.items()},
                np.zeros(0, np.float32) if obs is None else np.asarray(obs)[slot.envs],
            )

    def get_state(self) -> dict[str, Any]:
        """The states of each actor's environments, as JSON's types; the agent gets the arrays that belong to them."""
        agent, states = self._agent, [self._known(slot) for slot in self._slots]
        if known := [state for state in states if state is not None]:
            # `_restore` leaves those alone that are not known.
            filled = [state or known[0] for state in states]
            agent.acting.load_state_dict(_joined([state.acting for state in filled]))
            agent.held.load_state_dict(_joined([state.held for state in filled]))
            agent._last_obs = np.concatenate([state.last_obs for state in filled])
        return {"actors": [None if state is None else state.env for state in states]}

    def _known(self, slot: Slot) -> ActorState | None:
        """A slot's state, brought here from the machine that has it; None where it is gone."""
        if isinstance(slot.state, ray.ObjectRef):
            try:
                return ray.get(slot.state)
            except RayError:
                return None
        return slot.state

    # Actors, from their beginning to their loss.

    def _begin(self, slot: Slot) -> None:
        agent = self._agent
        drawn = [self._config.seed, slot.share.first, agent.num_timesteps, self.replaced]
        options = {"num_cpus": self._config.threads, "scheduling_strategy": "SPREAD"}
        slot.actor = ray.remote(Host).options(**options).remote()
        slot.beginning = slot.actor.begin.remote(
            self._config,
            self._environments,
            slot.share,
            agent.replay_buffer.pos[slot.envs],
            agent._episodes[slot.envs],
            int(np.random.SeedSequence(drawn).generate_state(1)[0]),
            slot.state,
            begun=agent.num_timesteps > 0,
        )

    def _lost(self, slot: Slot, error: RayError) -> None:
        """Begin another actor in the place of one that is gone.

        Raises:
            ActorLostError: it went as soon as it had begun, too often.
        """
        slot.losses += 1
        self.replaced += 1
        self.close(slot)
        if slot.losses > MOST_LOSSES:
            said = [line for line in str(error).splitlines() if line.strip()][-1:]
            raise ActorLostError(
                f"The actor of environments {slot.envs[0]} to {slot.envs[-1]} was lost {slot.losses} times before it "
                f"sent anything, at last with {' '.join(said)!r}; see to its machine, or train without --actors."
            ) from error
        known, slot.state = self._known(slot), None
        if known is None or not self._is_whole:  # new lifetimes, or new episodes of the same
            self._agent.replay_buffer.seam(slot.envs)
        slot.state = known
        self._begin(slot)

    @property
    def _is_whole(self) -> bool:
        env = self._agent.get_env()
        assert isinstance(env, Elsewhere)
        return self._environments.is_whole(env.one)

    def close(self, *slots: Slot) -> None:
        """End the actors of some slots; of all where none is given."""
        for slot in slots or self._slots:
            slot.orders.clear()
            if slot.actor is not None:
                ray.kill(slot.actor)

    # Orders and stretches.

    def collect(self, callback: BaseCallback, log_interval: int | None) -> RolloutReturn:
        """Take in the stretch that is there first, and those whose weights the updates to come would make too old."""
        callback.on_rollout_start()
        self._since, goes_on = self._agent.num_timesteps, True
        self._publish()
        while goes_on:
            self._order()
            slot = self._first(callback)
            goes_on = slot is not None and self._take(slot, callback, log_interval)
            if self._agent.num_timesteps > self._since and not any(map(self._is_late, self._slots)):
                break
        callback.on_rollout_end()
        return RolloutReturn(self._agent.num_timesteps - self._since, 0, goes_on)

    def _publish(self) -> None:
        """Publish the weights, where enough updates have been made since the last time."""
        updates = self._agent._n_updates
        if self._weights is None or updates - self._version >= self._config.distributed.publish_every:
            state = self._agent.policy.state_dict()
            self._weights = ray.put({name: x.cpu().numpy() for name, x in state.items()})
            self._version = updates

    def _age(self, version: int) -> int:
        """How old weights will be once the updates are made that are due for all steps so far."""
        agent, every = self._agent, self._agent.learner.steps_per_update
        due = int(agent.num_timesteps // every - self._since // every)
        return agent._n_updates + due * (agent.num_timesteps > agent.learning_starts) - version

    def _is_late(self, slot: Slot) -> bool:
        """Whether the slot's next stretch would be made with weights that are too old, were it not taken in now."""
        oldest = self._config.distributed.max_weight_age
        return bool(slot.orders) and self._age(slot.orders[0].version) > oldest

    def _order(self) -> None:
        """Order stretches of the actors that have few under way, while the published weights are young enough."""
        settings = self._config.distributed
        if self._gathered_until is None:
            self._gathered_until = time.monotonic() + SECONDS_TO_BEGIN
            for slot in self._slots:
                self._begin(slot)
        if all(slot.beginning is None for slot in self._slots):
            self._gathered_until = 0.0
        if time.monotonic() < self._gathered_until:
            return
        for slot in self._slots:
            if slot.actor is None or slot.beginning is not None:
                continue
            while len(slot.orders) < settings.ahead and self._age(self._version) <= settings.max_weight_age:
                stretch, state = slot.actor.collect.options(num_returns=2).remote(
                    self._weights, self._version, self._agent.num_timesteps, settings.stretch
                )
                slot.orders.append(Order(stretch, state, self._version, self._orders))
                self._orders += 1

    def _first(self, callback: BaseCallback) -> Slot | None:
        """The slot whose stretch is there first, of those that are late if any is; None where a callback stops."""
        began = time.monotonic()
        while True:
            ordered = [slot for slot in self._slots if slot.orders]
            waiting = [slot for slot in ordered if self._is_late(slot)] or ordered
            first = self._slots[0]
            if first.orders and not first.taken:  # callbacks look at the first environment
                waiting = [first]
            waiting.sort(key=lambda slot: slot.orders[0].number)
            slots = {slot.beginning: slot for slot in self._slots if slot.beginning is not None}
            slots |= {slot.orders[0].stretch: slot for slot in waiting}
            ready, _ = ray.wait(list(slots), num_returns=1, timeout=SECONDS_PER_LOOK)
            if not ready:
                if first.taken and not self._show(callback, self._told, np.zeros(len(self._told), np.bool_)):
                    return None
                self._order()
            if ready and slots[ready[0]].beginning != ready[0]:
                self._waited += time.monotonic() - began
                return slots[ready[0]]
            if ready:
                self._has_begun(slots[ready[0]])

    def _has_begun(self, slot: Slot) -> None:
        """Take note of an actor that can be given orders, or of one that was lost before.

        Raises:
            Exception: it cannot be on its machine; the environment's or the agent's own words.
        """
        try:
            ray.get(slot.beginning)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            self._lost(slot, error)
        else:
            slot.beginning = None
            self._order()

    def _take(self, slot: Slot, callback: BaseCallback, log_interval: int | None) -> bool:
        """Take a stretch into the replay and the log; whether learning goes on.

        Raises:
            Exception: the environments' own, or what else an actor met.
        """
        order, agent = slot.orders[0], self._agent
        try:
            stretch: Stretch = ray.get(order.stretch)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            self._lost(slot, error)
            return True
        slot.orders.popleft()
        slot.state, slot.losses, slot.figures, slot.taken = order.state, 0, stretch.figures, True
        self._ages.append(agent._n_updates - order.version)
        store(agent, slot.share.first, stretch)
        goes_on = True
        for told in stretch.told:
            agent.num_timesteps += slot.share.num_envs
            dones = np.zeros(agent.n_envs, np.bool_)
            infos = self._told.copy()
            for own, info in told.items():
                env = slot.share.first + own
                infos[env], dones[env] = info, "episode" in info
                self._told[env] = {name: value for name, value in info.items() if name != "episode"}
            goes_on = self._show(callback, infos, dones) and goes_on
            agent.count_step(infos, dones, log_interval)
        return goes_on

    def _show(self, callback: BaseCallback, infos: list[dict[str, Any]], dones: NDArray[np.bool_]) -> bool:
        """Show a callback a step, as SB3 does; whether learning goes on."""
        callback.update_locals({"infos": infos, "dones": dones})
        return callback.on_step()

    def figures(self) -> dict[str, float]:
        """What the actors believe and remember, and how they and the learner keep up with each other."""
        found: dict[str, list[float]] = {}
        for slot in self._slots:
            for name, value in slot.figures.items():
                found.setdefault(name, []).append(value)
        figures = {name: float(np.mean(values)) for name, values in found.items()}
        if "adapt/changes" in found:
            figures["adapt/changes"] = int(sum(found["adapt/changes"]))
        now, ages = time.monotonic(), self._ages or [0]
        figures |= {
            "actors/weight_age": float(np.mean(ages)),  # updates
            "actors/weight_age_max": max(ages),
            "actors/waiting": self._waited / max(now - self._logged, 1e-9),  # share of the learner's time
            "actors/acting": sum(slot.beginning is None for slot in self._slots),
            "actors/replaced": self.replaced,
        }
        self._ages, self._waited, self._logged = [], 0.0, now
        return figures


def _joined(parts: Sequence[Mapping[str, NDArray]]) -> dict[str, NDArray]:
    """Arrays [e, ...] of every actor as those of all environments, where each actor has them."""
    names = set.intersection(*map(set, parts))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
