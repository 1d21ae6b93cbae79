"""Many environments in one compiled call, with their drifts: those whose task declares batched dynamics.

`kernel` (a step of all) → `batch` (arrays, lifetimes) → Gymnasium's VectorEnv and SB3's VecEnv. `wrapper_stack` reads
from one environment, built in the usual way, whether it can be batched; `envs.make_vec` asks it.
"""
