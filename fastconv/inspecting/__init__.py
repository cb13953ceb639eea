"""What a compiler makes of a CUDA kernel, for any GPU and without one: what `fastconv inspect` is made of."""
