"""A memory probe for look-up by content: keys with their values one after another, then the values of all keys.

The associative recall of Graves et al. 2014 ("Neural Turing Machines"), every key asked for as by Arora et al. 2023
("Zoology"). An episode has 2 k + 1 steps, k = `num_pairs`:

    k steps    a key and its value in each;
    1 step     nothing is shown; action 0 has to be taken to earn with the answers that follow;
    k steps    one of the keys in each, in random order; the action is its value and earns 1 when right.

Keys are k different ones of 2^`key_bits`, drawn anew for every episode, so that no weight can stand for one of them;
values are independent and uniform over `num_values`. Observation [key_bits + num_values + 1]: the bits of the key, −1
or 1, the value one-hot, question 0 or 1; zeros where there is nothing to show. Its size does not depend on k: an agent
that was trained with few pairs can be judged with many. The return is the number of right answers, of k.

With perfect memory the return is k. Without memory none beats k / num_values, on average: in the silent step an agent
may know the last pair still, by the change of the observation, or another one, by its own last action
(TransitionObservation). But with an action other than 0 it earns nothing from there on; and after action 0 the first
question shows its key, a change that is that key, action 0 and reward 0, whatever the pairs are. What the agent answers
after silence is then the same rule for all values, and values are independent of keys and of each other: each answer is
right with probability 1 / num_values, and choosing for which pairs to keep silent can only lose some of these. To keep
silent and to answer anything, always the same value, reaches that bound.

A DNC of 128 slots of 64 numbers has a slot for each of up to 128 pairs (key and value are 12 numbers by default). A
recurrent network keeps about one number for each of its units (Collins, Sohl-Dickstein & Sussillo 2017, "Capacity and
Trainability in Recurrent Neural Networks"): 128 units are 14 pairs of 9 numbers. Both should solve k = 2; only the DNC
should solve k = 64.
"""

from __future__ import annotations

import numpy as np

from envs.tasks.memory_probe import Probe, Script
from envs.tasks.task import ProbeEntry


class PairsEnv(Probe):
    """Pairs, silence, questions. The return is the number of right answers, at most `num_pairs`, the difficulty."""

    get_state, set_state = Probe.get_state, Probe.set_state  # envs.saving asks a class for its own

    def __init__(self, num_pairs: int = 4, num_values: int = 4, key_bits: int = 8) -> None:
        """Sets up the probe.

        Args:
            num_pairs: k, the difficulty; from 2 to 2^key_bits.
            num_values: values, and actions; at least 2.
            key_bits: numbers of a key, from 1 to 16.
        """
        if not 1 <= key_bits <= 16:
            raise ValueError(f"key_bits={key_bits}, expected a key's bits: give 1 to 16.")
        self.key_bits = key_bits
        super().__init__(num_pairs, num_values, np.repeat([-1.0, 0.0], [key_bits, num_values + 1]))

    def check(self, difficulty: int) -> None:
        most = 2**self.key_bits
        if not 2 <= difficulty <= most:
            raise ValueError(
                f"num_pairs={difficulty}, expected 2 to {most} pairs, one for each key of {self.key_bits} bits: "
                "change num_pairs or key_bits."
            )

    @property
    def asked(self) -> int:
        return self.difficulty

    def write(self, difficulty: int) -> Script:
        k, bits, rng = difficulty, self.key_bits, self.np_random
        numbers, values = rng.choice(2**bits, k, replace=False), rng.integers(self.num_values, size=k)
        keys = 2 * (numbers[:, None] >> np.arange(bits) & 1) - 1
        order, every = rng.permutation(k), np.arange(k)
        shown = np.zeros((2 * k + 2, bits + self.num_values + 1), np.float32)
        shown[:k, :bits], shown[every, bits + values] = keys, 1.0
        shown[k + 1 : -1, :bits], shown[k + 1 : -1, -1] = keys[order], 1.0
        answers = np.concatenate([np.full(k + 1, -1), values[order]])
        return Script(shown, answers, np.arange(2 * k + 1) == k)


PROBE = {
    "Memory/Pairs-v0": ProbeEntry(PairsEnv, "See keys with their values, then give the value of every key.")
}
