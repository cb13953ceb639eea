"""What `fastconv bench` runs: limits of the machine, timings of kernels, peers and models, and their reports."""
