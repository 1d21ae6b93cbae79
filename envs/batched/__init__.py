"""Many environments in one compiled call: the plants of classic control and the point tasks, with their drifts.

`dynamics` (the plants) → `kernel` (a step of all) → `batch` (arrays, lifetimes) → the two faces. `stack` reads from
one environment, built in the usual way, whether it can be batched; `envs.make_vec` asks it.
"""
