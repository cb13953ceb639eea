// A tile's product in BF16: float32 is rounded on its way from registers to shared memory; sums are float32.
//
// Slices are 16 deep and kept twice, as in product_float32.cuh. Half the bytes lie in shared memory, and a fragment of
// either operand, deep or wide, comes by load_matrices, which turns 16-bit numbers round. Pieces of 16 bytes change
// places as in product_tf32.cuh, so that the eight rows of a matrix lie in different banks.
#pragma once
#include "cuda_cpp/product_mma.cuh"

// The place of a number, in units of 16 bits. Four lines of 16 fill all banks.
struct DeepBfloat16 {
    static constexpr int DEPTH = 16;
    static __device__ int place(int line, int k) { return line * DEPTH + ((k / 8 ^ line / 4 % 2) * 8 + k % 8); }
    static __device__ int quad(int i) { return place(Quads<DEPTH>::deep_line(i), Quads<DEPTH>::deep_depth()); }
};

struct WideBfloat16 {
    static constexpr int DEPTH = 16;
    static __device__ int place(int line, int k) { return k * ROWS + ((line / 8 ^ k % 8) * 8 + line % 8); }
    static __device__ int quad(int i) { return place(Quads<DEPTH>::wide_line(), Quads<DEPTH>::wide_depth(i)); }
};

template <class Source>
struct ProductBfloat16 : MmaSums<Source> {
    static constexpr int DEPTH = 16;
    using Place = Quads<DEPTH>;
    using A = typename LayoutOf<Source::A_DEEP, DeepBfloat16, WideBfloat16>::type;
    using B = typename LayoutOf<Source::B_DEEP, DeepBfloat16, WideBfloat16>::type;
    struct __align__(16) Slices {
        unsigned short a[2][ROWS * DEPTH], b[2][COLUMNS * DEPTH];
    };
    using Base = MmaSums<Source>;
    using Base::Base;

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
                put<A>(shared.a[fresh], next_a);
                put<B>(shared.b[fresh], next_b);
            }
            __syncthreads();
        }
    }

private:
    template <class To>
    static __device__ void put(unsigned short* slice, const float (&quads)[Place::COUNT][4])
    {
#pragma unroll
        for (int i = 0; i < Place::COUNT; ++i) {
            const float (&q)[4] = quads[i];
            *reinterpret_cast<uint2*>(slice + To::quad(i)) = uint2{bfloat16_pair(q[0], q[1]), bfloat16_pair(q[2], q[3])};
        }
    }

    __device__ void multiply(const unsigned short* a, const unsigned short* b)
    {
        const int lane = Base::lane();
        unsigned right[Base::BROAD][2];
#pragma unroll
        for (int j = 0; j < Base::BROAD; j += 2) {
            const int column = Base::first_column() + j * 8;
            unsigned found[4];
            if constexpr (Source::B_DEEP)
                load_matrices(found, b + B::place(column + lane % 8 + lane / 16 * 8, lane / 8 % 2 * 8));
            else
                load_turned_matrices(found, b + B::place(column + lane / 16 * 8, lane % 16));
            right[j][0] = found[0], right[j][1] = found[1];
            right[j + 1][0] = found[2], right[j + 1][1] = found[3];
        }
#pragma unroll
        for (int i = 0; i < Base::TALL; ++i) {
            const int row = Base::first_row() + i * 16;
            unsigned left[4];
            if constexpr (Source::A_DEEP)
                load_matrices(left, a + A::place(row + lane % 16, lane / 16 * 8));
            else
                load_turned_matrices(left, a + A::place(row + lane / 8 % 2 * 8, lane % 8 + lane / 16 * 8));
#pragma unroll
            for (int j = 0; j < Base::BROAD; ++j)
                mma_bfloat16(Base::sums[i][j], left, right[j]);
        }
    }
};
