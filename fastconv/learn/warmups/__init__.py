"""Kernels that are no convolution: the first two exercises. Each file is one kernel, written as those in kernels/."""
