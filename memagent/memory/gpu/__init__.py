"""The DNC's unroll on a GPU: one Triton program per sequence walks all T steps, forward and backward.

records (what is kept) -> parts (vector maths) -> forward, backward (kernels) -> unroll (the PyTorch operation).
"""
