"""The tile of the kernels in CUDA C++, as cuda_cpp/geometry.cuh has it."""

ROWS, COLUMNS = 128, 128
THREADS = 256
