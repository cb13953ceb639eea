// A tile's product in TF32: float32 comes to shared memory by asynchronous copies and is rounded where it is multiplied.
//
// Slices are 16 deep, in a pipeline of three stages: two are under way while one is multiplied, with one barrier a slice.
// They lie in shared memory as they do in global memory, 16 bytes a copy, but swizzled: within a line, or a step, the
// pieces of 16 bytes change places so that what a warp reads at once lies in different banks, without any padding.
#pragma once
#include "cuda_cpp/product_mma.cuh"

// The place of a number in a slice whose lines are 16 deep. Two lines fill all banks; eight lines' pieces of one depth,
// a matrix of load_matrices, are in eight different places.
struct DeepTf32 {
    static constexpr int DEPTH = 16;
    static __device__ int place(int line, int k) { return line * DEPTH + ((k / 4 ^ line / 2 % 4) * 4 + k % 4); }
    static __device__ int quad(int i) { return place(Quads<DEPTH>::deep_line(i), Quads<DEPTH>::deep_depth()); }
};

// The place in one whose steps have 128 lines side by side. A fragment is of 8 lines and 4 steps: these are 8 apart.
struct WideTf32 {
    static constexpr int DEPTH = 16;
    static __device__ int place(int line, int k) { return k * ROWS + (line ^ k % 4 * 8); }
    static __device__ int quad(int i) { return place(Quads<DEPTH>::wide_line(), Quads<DEPTH>::wide_depth(i)); }
};

template <class Source>
struct ProductTf32 : MmaSums<Source> {
    static constexpr int DEPTH = 16, STAGES = 3;
    static constexpr int AHEAD = STAGES - 1;  // slices that are under way, or have just arrived
    using A = typename LayoutOf<Source::A_DEEP, DeepTf32, WideTf32>::type;
    using B = typename LayoutOf<Source::B_DEEP, DeepTf32, WideTf32>::type;
    struct __align__(16) Slices {
        float a[STAGES][ROWS * DEPTH], b[STAGES][COLUMNS * DEPTH];
    };
    using Base = MmaSums<Source>;
    using Base::Base;

    __device__ void run(Slices& shared, Source& source)
    {
        int stage = 0;  // of the slice to copy next, the place
        for (int slice = 0; slice < source.slices + AHEAD; ++slice) {
            if (slice >= AHEAD) {
                wait_async<AHEAD - 1>();
                __syncthreads();  // all threads' copies are there, and nobody reads the stage that comes next
            }
            if (slice < source.slices)
                source.next(ToShared<A>{shared.a[stage]}, ToShared<B>{shared.b[stage]});
            commit_async();  // a group a slice, if an empty one: they are counted
            stage = stage < AHEAD ? stage + 1 : 0;
            if (slice >= AHEAD)
                multiply(shared.a[stage], shared.b[stage]);
        }
    }

private:
    __device__ void multiply(const float (&a)[ROWS * DEPTH], const float (&b)[COLUMNS * DEPTH])
    {
#pragma unroll
        for (int k = 0; k < DEPTH; k += 8) {
            unsigned right[Base::BROAD][2];
#pragma unroll
            for (int j = 0; j < Base::BROAD; j += 2)
                load_b(right[j], right[j + 1], b, Base::first_column() + j * 8, k);
#pragma unroll
            for (int i = 0; i < Base::TALL; ++i) {
                unsigned left[4];
                load_a(left, a, Base::first_row() + i * 16, k);
#pragma unroll
                for (int j = 0; j < Base::BROAD; ++j)
                    mma_tf32(Base::sums[i][j], left, right[j]);
            }
        }
    }

    // A fragment of 16 rows x 8.
    static __device__ void load_a(unsigned (&to)[4], const float* a, int row, int k)
    {
        const int lane = Base::lane();
        if constexpr (Source::A_DEEP) {
            load_matrices(to, a + A::place(row + lane % 16, k + lane / 16 * 4));
            for (unsigned& bits : to)
                bits = tf32(__uint_as_float(bits));
        }
        else
#pragma unroll
            for (int e = 0; e < 4; ++e)
                to[e] = tf32(a[A::place(row + lane / 4 + e % 2 * 8, k + lane % 4 + e / 2 * 4)]);
    }

    // Two fragments of 8 x 8 columns.
    static __device__ void load_b(unsigned (&first)[2], unsigned (&second)[2], const float* b, int column, int k)
    {
        const int lane = Base::lane();
        if constexpr (Source::B_DEEP) {
            unsigned found[4];
            load_matrices(found, b + B::place(column + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 4));
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                first[e] = tf32(__uint_as_float(found[e]));
                second[e] = tf32(__uint_as_float(found[e + 2]));
            }
        }
        else
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                first[e] = tf32(b[B::place(column + lane / 4, k + lane % 4 + e * 4)]);
                second[e] = tf32(b[B::place(column + 8 + lane / 4, k + lane % 4 + e * 4)]);
            }
    }
};
