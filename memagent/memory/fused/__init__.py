"""The DNC's unroll compiled for the CPU: what `controller` computes, step by step, in one loop of explicit vectors.

unroll (PyTorch's operation) -> kernels (all steps) -> step_… (one step) -> products, arithmetic, lanes
"""
