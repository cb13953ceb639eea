// Instructions that C++ has no words for, each as one small function. All need compute capability 8.0.
//
// What the threads of a warp hold of a matrix, its fragment, is that of the PTX manual; g = lane / 4, t = lane % 4:
//
//     TF32   A (16, 8)    a0 = A[g, t]      a1 = A[g + 8, t]      a2 = A[g, t + 4]      a3 = A[g + 8, t + 4]
//            B (8, 8)     b0 = B[t, g]      b1 = B[t + 4, g]
//     BF16   A (16, 16)   a0 = A[g, 2t:]    a1 = A[g + 8, 2t:]    a2 = A[g, 2t + 8:]    a3 = A[g + 8, 2t + 8:]
//            B (16, 8)    b0 = B[2t:, g]    b1 = B[2t + 8:, g]    two neighbours along the depth in 32 bits, low first
//     both   D (16, 8)    d0 = D[g, 2t]     d1 = D[g, 2t + 1]     d2 = D[g + 8, 2t]     d3 = D[g + 8, 2t + 1]
#pragma once
#ifdef FASTCONV_ON_CPU
#include "instructions_on_cpu.h"  // the same functions in plain C++: fastconv/testing/shim
#else

__device__ inline unsigned shared_address(const void* place)
{
    return static_cast<unsigned>(__cvta_generic_to_shared(place));
}

// Begin to copy 16 bytes from global to shared memory, or to write zeros. Both places are multiples of 16 bytes.
__device__ inline void copy16_async(void* to, const void* from, bool inside)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(inside ? 16 : 0)
                 : "memory");
}

// The same for 4 bytes.
__device__ inline void copy4_async(void* to, const void* from, bool inside)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(inside ? 4 : 0)
                 : "memory");
}

// What this thread began since the last call becomes a group, if an empty one.
__device__ inline void commit_async()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Wait until at most MOST of this thread's groups are under way.
template <int MOST>
__device__ inline void wait_async()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(MOST) : "memory");
}

// Load four matrices of 8 rows of 16 bytes from shared memory. Lane l tells where row l % 8 of matrix l / 8 lies;
// out[i] is the 32 bits at t in row g of matrix i.
__device__ inline void load_matrices(unsigned (&out)[4], const void* row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, each matrix of 8 x 8 halves of 32 bits turned round: out[i] is column g of matrix i, rows 2t and 2t + 1.
__device__ inline void load_turned_matrices(unsigned (&out)[4], const void* row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The TF32 number next to a float32, as its bits; of two equally near ones that further from zero.
__device__ inline unsigned tf32(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

// Two BF16 numbers next to float32 ones, in 32 bits; of two equally near ones the even one.
__device__ inline unsigned bfloat16_pair(float low, float high)
{
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

// D += A B by the tensor cores, for a whole warp; sums are float32.
__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
