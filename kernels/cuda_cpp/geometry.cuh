// A problem as numbers, field by field what cuda_geometry.Conv2DGeometry is in Python; and how a block's tile is cut.
#pragma once

struct Conv2DGeometry {
    int N, H, W, C, R, S, K, P, Q;
    int stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int group_C, group_K;  // channels and filters of a group
};

// Every kernel here is a matrix product, C = A B. A block computes a tile of it, slice by slice in depth.
constexpr int ROWS = 128, COLUMNS = 128;
constexpr int THREADS = 256;
constexpr int WARP = 32;

// Whether 0 <= i < end: one comparison, since a negative i is a large unsigned number.
__device__ inline bool within(int i, int end)
{
    return static_cast<unsigned>(i) < static_cast<unsigned>(end);
}

__device__ inline int divide(int a, int b)  // of numbers that are not negative, in fewer instructions
{
    return static_cast<int>(static_cast<unsigned>(a) / static_cast<unsigned>(b));
}

__device__ inline int remainder(int a, int b)
{
    return static_cast<int>(static_cast<unsigned>(a) % static_cast<unsigned>(b));
}
