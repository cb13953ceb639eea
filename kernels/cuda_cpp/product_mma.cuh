// A tile's product on tensor cores: 8 warps, each 64 x 32 of it, as 4 x 4 products of 16 x 8 by one instruction.
//
// What TF32 and BF16 share: where a warp's part of the tile lies, its sums, and how they are stored.
#pragma once
#include "cuda_cpp/quads.cuh"

template <bool DEEP, class Deep, class Wide>
struct LayoutOf {
    using type = Deep;
};
template <class Deep, class Wide>
struct LayoutOf<false, Deep, Wide> {
    using type = Wide;
};

template <class Source>
struct MmaSums {
    static constexpr int TALL = 4, BROAD = 4;  // products down and across

    float sums[TALL][BROAD][4];

    __device__ explicit MmaSums(const Source& source)
    {
#pragma unroll
        for (int j = 0; j < BROAD; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const float first = e < 2 ? source.first_sum(first_column() + j * 8 + pair() + e) : sums[0][j][e - 2];
#pragma unroll
                for (int i = 0; i < TALL; ++i)
                    sums[i][j][e] = first;
            }
    }

    // store(row, column, values): two neighbours of a row of the tile.
    template <class Store>
    __device__ void finish(Store store)
    {
#pragma unroll
        for (int i = 0; i < TALL; ++i)
#pragma unroll
            for (int e = 0; e < 4; e += 2)
#pragma unroll
                for (int j = 0; j < BROAD; ++j) {
                    float (&values)[2] = reinterpret_cast<float (&)[2]>(sums[i][j][e]);
                    store(first_row() + i * 16 + e * 4 + lane() / 4, first_column() + j * 8 + pair(), values);
                }
    }

protected:
    static __device__ int lane() { return threadIdx.x % WARP; }
    static __device__ int pair() { return threadIdx.x % 4 * 2; }
    static __device__ int first_row() { return threadIdx.x / WARP % 2 * 64; }
    static __device__ int first_column() { return threadIdx.x / WARP / 2 * 32; }
};
