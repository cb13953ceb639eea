// A tile's product in float32, by the units that every GPU has: 8 x 8 sums in each thread's registers.
//
// Slices are 8 deep and kept twice: while one is multiplied, the next is on its way to registers and then to the other
// copy, so one barrier a slice is enough. In shared memory both operands lie as they are multiplied, lines side by side
// for each step in depth. A deep one is turned round on the way, and 4 numbers more a step keep its stores in different
// banks. A step reads 16 numbers in four instructions for 64 multiply-adds.
#pragma once
#include "cuda_cpp/quads.cuh"

template <class Source>
struct ProductFloat32 {
    static constexpr int DEPTH = 8;
    static constexpr int A_STEP = ROWS + (Source::A_DEEP ? 4 : 0), B_STEP = COLUMNS + (Source::B_DEEP ? 4 : 0);
    using Place = Quads<DEPTH>;
    struct __align__(16) Slices {
        float a[2][DEPTH][A_STEP], b[2][DEPTH][B_STEP];
    };

    float sums[8][8];

    __device__ explicit ProductFloat32(const Source& source)
    {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            const float first = source.first_sum(first_column() + j % 4 + j / 4 * (COLUMNS / 2));
#pragma unroll
            for (int i = 0; i < 8; ++i)
                sums[i][j] = first;
        }
    }

    __device__ void run(Slices& shared, Source& source)
    {
        float next_a[Place::COUNT][4], next_b[Place::COUNT][4];
        for (int slice = 0; slice <= source.slices; ++slice) {
            const int fresh = slice % 2, old = 1 - fresh;
            if (slice < source.slices)
                source.next(ToRegisters<DEPTH>{next_a}, ToRegisters<DEPTH>{next_b});
            if (slice > 0)
                multiply(shared.a[old], shared.b[old]);
            if (slice < source.slices) {
                put<Source::A_DEEP>(shared.a[fresh], next_a);
                put<Source::B_DEEP>(shared.b[fresh], next_b);
            }
            __syncthreads();
        }
    }

    // store(row, column, values): four neighbours of a row of the tile.
    template <class Store>
    __device__ void finish(Store store)
    {
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int j = 0; j < 8; j += 4) {
                float (&values)[4] = reinterpret_cast<float (&)[4]>(sums[i][j]);
                store(first_row() + i % 4 + i / 4 * (ROWS / 2), first_column() + j / 4 * (COLUMNS / 2), values);
            }
    }

private:
    // A thread has 4 rows and, 64 further, 4 more; columns likewise. A warp's threads are 4 down and 8 across, so what
    // they read at once lies in different banks, or is the same.
    static __device__ int first_row() { return threadIdx.x / 64 * 16 + threadIdx.x % WARP / 8 * 4; }
    static __device__ int first_column() { return threadIdx.x / WARP % 2 * 32 + threadIdx.x % 8 * 4; }

    template <bool DEEP, int STEP>
    static __device__ void put(float (&slice)[DEPTH][STEP], const float (&quads)[Place::COUNT][4])
    {
#pragma unroll
        for (int i = 0; i < Place::COUNT; ++i) {
            const float (&q)[4] = quads[i];
            if constexpr (DEEP)
                for (int e = 0; e < 4; ++e)
                    slice[Place::deep_depth() + e][Place::deep_line(i)] = q[e];
            else
                four(slice[Place::wide_depth(i)][Place::wide_line()]) = float4{q[0], q[1], q[2], q[3]};
        }
    }

    __device__ void multiply(float (&a)[DEPTH][A_STEP], float (&b)[DEPTH][B_STEP])
    {
#pragma unroll 2  // more would need more than the 128 registers that two blocks a multiprocessor leave a thread
        for (int k = 0; k < DEPTH; ++k) {
            const float4 left[2] = {four(a[k][first_row()]), four(a[k][first_row() + ROWS / 2])};
            const float4 right[2] = {four(b[k][first_column()]), four(b[k][first_column() + COLUMNS / 2])};
            const float rows[8] = {left[0].x, left[0].y, left[0].z, left[0].w,
                                   left[1].x, left[1].y, left[1].z, left[1].w};
            const float columns[8] = {right[0].x, right[0].y, right[0].z, right[0].w,
                                      right[1].x, right[1].y, right[1].z, right[1].w};
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j)
                    sums[i][j] += rows[i] * columns[j];
        }
    }

    static __device__ float4& four(float& first) { return reinterpret_cast<float4&>(first); }
};
