"""What an agent believes of each plant it acts in: which steps are of the present phase, and the context they give.

    step -> evidence that the phase is over -> runs of k steps of the phase -> context, fitted when there is enough new

A belief is arrays alone and belongs to a stream; `BeliefTracker` moves it on and keeps nothing of it. So acting,
judging and `predict`, whose state goes in and comes out, do the same to the bit.

The evidence is a cumulative sum (Page 1954, Continuous Inspection Schemes) of the detector's log-likelihood ratios that
forgets:

    g_t = max(0, MEMORY g_{t-1} + clip(log p(step_t | 0) - log p(step_t | z), ±CLIP)),    alarm where g_t > threshold

While z explains what happens g stays near 0; where it does not, not to know is better than to be wrong. Most false
alarms come of many steps that each speak a little against z, while a change shows in a few: so the sum forgets, and a
lower threshold is passed as rarely. Steps count from the `young`-th run of a phase on: before it z is still being
found, and to begin anew again would gain nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from memagent.context import AdaptConfig, ContextModel
from memagent.detector import Detector
from memagent.dynamics import Outcomes, run_size

Array = NDArray[np.float32]
CLIP = 3.0
"""Largest evidence of one step, in nats: no single surprise raises an alarm that weaker ones would not."""
MEMORY = 0.9
"""Share of the evidence that is left after a step."""
RECENT = 16
"""Newest steps that a new phase begins with at most: those since the evidence against the last one began to grow."""


class Belief(NamedTuple):
    """Arrays of E streams, changed in place. S runs at most are kept, with inputs [I] and outcome [D = C + 1] each."""

    obs: Array  # [E, O], the newest observation
    past_obs: Array  # [E, k, O], the last steps, the newest first; zeros before the episode or the phase
    past_action: Array  # [E, P, A], P as many as the models are shown
    past_happened: Array  # [E, P, D]
    length: NDArray[np.int64]  # [E], steps since the episode or the phase began
    # The runs that ended with each of the last R steps, the newest first; R = 0 where no evidence ends a phase.
    recent_inputs: Array  # [E, R, I]
    recent_outcome: Array  # [E, R, D]
    recent_whole: NDArray[np.bool_]  # [E, R], whether there was one
    inputs: Array  # [E, S, I], runs of the phase
    outcome: Array  # [E, S, D]
    num_runs: NDArray[np.int64]  # [E], runs of the phase so far, kept or not
    next_fit: NDArray[np.int64]  # [E], runs at which the context is fitted next
    context: Array  # [E, Z], as memory and heads are told it
    last_context: Array  # [E, Z], what it was when the last phase ended
    score: Array  # [E], g, in nats
    peak: Array  # [E], the largest g since it was 0
    pending: NDArray[np.int64]  # [E], steps since g was 0
    age: NDArray[np.int64]  # [E], steps since the phase began
    phase: NDArray[np.int64]  # [E], numbers the phases: 0, 1, 2, …

    @property
    def past(self) -> tuple[Array, Array, Array]:
        """The last steps: observations before them, actions, and what happened."""
        return self.past_obs, self.past_action, self.past_happened

    @property
    def kept(self) -> tuple[Array, Array, NDArray[np.int64]]:
        """The runs that are kept of each phase, and how many it has had."""
        return self.inputs, self.outcome, self.num_runs


class Observed(NamedTuple):
    """What one step of every stream gave."""

    alarm: NDArray[np.bool_]  # [E], a phase has ended by the evidence
    evidence: NDArray[np.float64]  # [E], see `BeliefTracker.evidence`, before an alarm; 0 without "detect"
    peaks: Array  # [E], how high the sum g was, in nats, that has just fallen back to 0; 0 where none has
    stage: NDArray[np.int64]  # [E], of the phase, see `BeliefTracker.stage`; -1 where no evidence counts yet

    @classmethod
    def nothing(cls, num_envs: int) -> Observed:
        """No step yet."""
        return cls(
            alarm=np.zeros(num_envs, np.bool_),
            evidence=np.zeros(num_envs),
            peaks=np.zeros(num_envs, np.float32),
            stage=np.full(num_envs, -1),
        )


class BeliefTracker:
    """Moves beliefs on.

    Args:
        model: fits contexts; read, never written.
        detector: weighs evidence; read, never written.
        config: how much is kept, when contexts are fitted, and whether evidence ends a phase
            (`phase_signal="detect"`) or `begin_anew` alone does.
        sizes: O, A and D = C + 1: numbers of an observation, of an action as vector and of an outcome.
    """

    def __init__(
        self, model: ContextModel, detector: Detector, config: AdaptConfig, sizes: tuple[int, int, int]
    ) -> None:
        self.model, self.detector, self.config, self.sizes = model, detector, config, sizes

    def empty(self, num_envs: int) -> Belief:
        """Nothing is known of E streams."""
        k, h, size, (o, a, d) = self.config.steps_ahead, self.config.history, self.config.support, self.sizes
        row, past = run_size(self.sizes, k, h), max(k + h, 1 + self.config.evidence_history)
        recent = RECENT if self.config.phase_signal == "detect" else 0

        def numbers(*shape: int) -> Array:
            return np.zeros((num_envs, *shape), np.float32)

        def counts() -> NDArray[np.int64]:
            return np.zeros(num_envs, np.int64)

        return Belief(
            obs=numbers(o),
            past_obs=numbers(k, o),
            past_action=numbers(past, a),
            past_happened=numbers(past, d),
            length=counts(),
            recent_inputs=numbers(recent, row),
            recent_outcome=numbers(recent, d),
            recent_whole=np.zeros((num_envs, recent), np.bool_),
            inputs=numbers(size, row),
            outcome=numbers(size, d),
            num_runs=counts(),
            next_fit=counts() + 1,
            context=numbers(self.model.context_dim),
            last_context=numbers(self.model.context_dim),
            score=numbers(),
            peak=numbers(),
            pending=counts(),
            age=counts(),
            phase=counts(),
        )

    def observe(
        self, belief: Belief, obs: Array, action: Array, happened: Array, goes_on: NDArray[np.bool_]
    ) -> Observed:
        """Take in one step of every stream, and what it says of phase and context.

        Args:
            belief: changed in place.
            obs: the observations after the step, [E, O].
            action, happened: of the step, [E, A] and [E, C + 1].
            goes_on: [E], whether there was a step: not where an episode begins with obs.
        """
        from memagent import fused_belief  # only now: importing it loads numba

        # What the arguments of a user's loop are made of is theirs; the kernels are compiled for one kind.
        obs, action, happened = (np.ascontiguousarray(x, np.float32) for x in (obs, action, happened))
        fused_belief.add_steps(belief.obs, *belief.past, belief.length, action, happened, goes_on)
        belief.age[goes_on] += 1
        newest = self.config.phase_signal == "none"
        run = self._ended(belief, goes_on, self.config.steps_ahead, self.config.history)
        seen = Observed.nothing(len(obs))
        if goes_on.any() and not newest:
            seen = self._weigh(belief, goes_on, *run)
        inputs, outcome, whole = run
        whole &= ~seen.alarm  # a new phase has its runs already
        fused_belief.keep_runs(inputs, outcome, whole, *belief.kept, newest)
        self._fit(belief)
        belief.obs[:] = obs
        return seen

    def _ended(
        self, belief: Belief, goes_on: NDArray[np.bool_], k: int, history: int
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """The runs of k steps that the newest step ends: inputs [E, I], outcome [E, D], and which are whole, [E]."""
        from memagent import fused_belief

        return fused_belief.newest_runs(*belief.past, belief.length, goes_on, k, history)

    def _weigh(
        self,
        belief: Belief,
        goes_on: NDArray[np.bool_],
        inputs: Array,
        outcome: Array,
        whole: NDArray[np.bool_],
    ) -> Observed:
        """Add the evidence of the newest steps, which end the runs [E, I] and [E, D]; it may end phases."""
        from memagent import fused_belief

        newest = self._ended(belief, goes_on, 1, self.config.evidence_history)
        steps = self._rows(*(part[:, None] for part in newest))
        told = torch.from_numpy(belief.context).to(steps.inputs.device)
        ratio = self.detector.evidence(told, steps).squeeze(-1).clip(-CLIP, CLIP).cpu().numpy()
        ripe = goes_on & (belief.num_runs >= self.config.young)
        peaks = fused_belief.accumulate(ratio, ripe, MEMORY, belief.score, belief.peak, belief.pending)
        stage = np.where(ripe, self.stage(belief), -1)
        if self.config.phase_signal != "detect":
            return Observed.nothing(len(whole))._replace(peaks=peaks, stage=stage)
        fused_belief.push(belief.recent_inputs, inputs, goes_on)
        fused_belief.push(belief.recent_outcome, outcome, goes_on)
        fused_belief.push(belief.recent_whole[..., None], whole[:, None], goes_on)
        evidence = self.evidence(belief)
        alarm = evidence > 1.0
        if alarm.any():
            self._end_phase(belief, alarm)
        return Observed(alarm, evidence, peaks, stage)

    def stage(self, belief: Belief) -> NDArray[np.int64]:
        """The stage of each phase, [E]: 0 while it has fewer runs than are kept, then 1.

        From few runs z is often found wrong: unchanged plants then raise more evidence than later.
        """
        return (belief.num_runs >= self.config.support).astype(np.int64)

    def evidence(self, belief: Belief) -> NDArray[np.float64]:
        """The evidence that each phase is over, [E], as a share of the threshold above which it is."""
        return belief.score / self.detector.thresholds(self.config.false_alarms)[self.stage(belief)]

    def _end_phase(self, belief: Belief, alarm: NDArray[np.bool_]) -> None:
        """The phases [E] are over since the evidence began to grow: the steps since then are the new one's.

        They keep the history that they had, which may reach back before it.
        """
        from memagent import fused_belief

        since = np.where(alarm, belief.pending, 0)
        self.begin_anew(belief, np.flatnonzero(alarm), since[alarm])
        within = since + 1 - self.config.steps_ahead  # of the newest runs, those inside the new phase
        for i in reversed(range(min(within.max(), RECENT))):
            rows = (np.ascontiguousarray(x[:, i]) for x in (belief.recent_inputs, belief.recent_outcome))
            fused_belief.keep_runs(*rows, (within > i) & belief.recent_whole[:, i], *belief.kept, False)

    def begin_anew(self, belief: Belief, envs: NDArray[np.int64], age: NDArray[np.int64] | int = 0) -> None:
        """A new phase in `envs` [n], which began `age` [n] steps ago: nothing from before is known of it."""
        belief.age[envs] = age
        belief.length[envs] = np.minimum(belief.length[envs], age)
        for part in belief.past:
            before = np.arange(part.shape[1]) >= belief.length[envs][:, None]
            part[envs] = np.where(before[..., None], np.float32(0.0), part[envs])
        belief.last_context[envs] = belief.context[envs]
        for number in (belief.context, belief.score, belief.peak):
            number[envs] = 0.0
        for count in (belief.num_runs, belief.pending):
            count[envs] = 0
        belief.next_fit[envs] = 1
        belief.phase[envs] += 1

    def _fit(self, belief: Belief) -> None:
        """Fit the contexts of those streams whose phase has seen enough since the last fit."""
        count, size, young = belief.num_runs, self.config.support, self.config.young
        envs = np.flatnonzero(count >= belief.next_fit)
        if envs.size:
            belief.context[envs] = self.model.infer(self.support(belief, envs)).cpu().numpy()
            newest = self.config.phase_signal == "none"
            grown = np.minimum(count, size) // 16 if newest else count // 4
            wait = np.where(count < young, 1, np.maximum(grown, 1))
            belief.next_fit[envs] = (count + wait)[envs]

    def support(self, belief: Belief, envs: NDArray[np.int64]) -> Outcomes:
        """The runs kept of each of `envs` [n], [n, S', ...], with S' the most that any of them has."""
        held = np.minimum(belief.num_runs[envs], self.config.support)
        most = max(1, int(held.max()))
        return self._rows(
            belief.inputs[envs, :most], belief.outcome[envs, :most], np.arange(most) < held[:, None]
        )

    def _rows(self, *arrays: NDArray) -> Outcomes:
        device = self.model.mean_square.device
        return Outcomes(*(torch.from_numpy(x).to(device) for x in arrays))
