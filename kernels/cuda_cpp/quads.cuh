// Four numbers at a time: which of a slice a thread copies, where to, and how results are stored.
//
// A slice has 128 lines (rows of A, or columns of B) and is DEPTH deep. An operand is deep where its numbers lie in
// global memory side by side along the depth, else wide: side by side along the lines. Quads follow that.
#pragma once
#include "cuda_cpp/geometry.cuh"
#include "cuda_cpp/instructions.cuh"

template <int DEPTH>
struct Quads {
    static constexpr int COUNT = ROWS * DEPTH / 4 / THREADS;  // of a thread

    // Of a deep operand: all quads of a thread are of one depth.
    static __device__ int deep_line(int i) { return threadIdx.x / (DEPTH / 4) + i * (THREADS / (DEPTH / 4)); }
    static __device__ int deep_depth() { return threadIdx.x % (DEPTH / 4) * 4; }

    // Of a wide one: all are of the same lines.
    static __device__ int wide_line() { return threadIdx.x % (ROWS / 4) * 4; }
    static __device__ int wide_depth(int i) { return threadIdx.x / (ROWS / 4) + i * (THREADS / (ROWS / 4)); }
};

// A source tells where the quads of the next slice lie, by `four`, or by `one` where their numbers lie apart. What is
// not inside of its array counts as zero; its pointer is not followed.

// They go to registers.
template <int DEPTH>
struct ToRegisters {
    float (&quads)[Quads<DEPTH>::COUNT][4];

    __device__ void four(int i, const float* from, bool inside) const
    {
        const float4 found = inside ? *reinterpret_cast<const float4*>(from) : float4{0, 0, 0, 0};
        quads[i][0] = found.x, quads[i][1] = found.y, quads[i][2] = found.z, quads[i][3] = found.w;
    }
    __device__ void one(int i, int e, const float* from, bool inside) const { quads[i][e] = inside ? *from : 0.0f; }
};

// They go to shared memory, and no thread waits for them. `Layout::quad` says where quad i of a thread lies.
template <class Layout>
struct ToShared {
    float* slice;

    __device__ void four(int i, const float* from, bool inside) const
    {
        copy16_async(slice + Layout::quad(i), from, inside);
    }
    __device__ void one(int i, int e, const float* from, bool inside) const
    {
        copy4_async(slice + Layout::quad(i) + e, from, inside);
    }
};

// Stores neighbours of a row. left: columns from `to` on; others are not written. wide: whether all may go at once.
template <int COUNT>
__device__ inline void store_neighbours(float* to, const float (&values)[COUNT], int left, bool wide)
{
    static_assert(COUNT == 4 || COUNT == 2, "128 or 64 bits");
    if (wide && left > 0) {
        if constexpr (COUNT == 4)
            *reinterpret_cast<float4*>(to) = float4{values[0], values[1], values[2], values[3]};
        else
            *reinterpret_cast<float2*>(to) = float2{values[0], values[1]};
    }
    else if (!wide) {
#pragma unroll
        for (int e = 0; e < COUNT; ++e)
            if (left > e)
                to[e] = values[e];
    }
}
