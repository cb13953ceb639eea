// What a GPU can do at most: kernels that do nothing but multiply-adds from registers, or nothing but copy.
//
// Every thread (or warp) has eight independent sums, so that the latency of one multiply-add is hidden by the others.
// cuda_limits.py launches them and counts; the results are written so that the compiler keeps the work.

constexpr int SUMS = 8;

// FP32: 2 * SUMS FLOPs a thread for each of `repeats`.
extern "C" __global__ void fma_float32(float* out, float factor, float addend, int repeats)
{
    float sums[SUMS];
    for (int i = 0; i < SUMS; ++i)
        sums[i] = threadIdx.x + i;
#pragma unroll 16
    for (int repeat = 0; repeat < repeats; ++repeat)
        for (int i = 0; i < SUMS; ++i)
            sums[i] = fmaf(sums[i], factor, addend);
    float total = 0;
    for (int i = 0; i < SUMS; ++i)
        total += sums[i];
    out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

// D (16,8) += A (16,8) B (8,8), all float32 rounded to TF32: 2048 FLOPs a warp.
__device__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// D (16,8) += A (16,16) B (16,8), BF16 summed in float32: 4096 FLOPs a warp.
__device__ void mma_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

template <void (*mma)(float (&)[4], const unsigned (&)[4], const unsigned (&)[2])>
__device__ void repeat_mma(float* out, unsigned bits, int repeats)
{
    unsigned a[4] = {bits, bits, bits, bits}, b[2] = {bits, bits};
    float sums[SUMS][4] = {};
#pragma unroll 4
    for (int repeat = 0; repeat < repeats; ++repeat)
        for (int i = 0; i < SUMS; ++i)
            mma(sums[i], a, b);
    float total = 0;
    for (int i = 0; i < SUMS; ++i)
        for (int j = 0; j < 4; ++j)
            total += sums[i][j];
    out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

extern "C" __global__ void fma_tf32(float* out, unsigned bits, int repeats)
{
    repeat_mma<mma_tf32>(out, bits, repeats);
}

extern "C" __global__ void fma_bfloat16(float* out, unsigned bits, int repeats)
{
    repeat_mma<mma_bfloat16>(out, bits, repeats);
}

// 16 bytes a thread at a time, neighbours side by side.
extern "C" __global__ void copy_16_bytes(const uint4* source, uint4* target, long long count)
{
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
        target[i] = source[i];
}
