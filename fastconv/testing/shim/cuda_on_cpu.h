// CUDA C++ on the CPU: what nvcc's language adds, so that g++ compiles the very same .cu file. See run.cpp.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

struct dim3 {
    unsigned x, y, z;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
extern dim3 gridDim, blockDim, blockIdx, threadIdx;

#define FASTCONV_ON_CPU
#define __global__
#define __device__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("shared_memory")))

void __syncthreads();

namespace on_cpu {

constexpr int LANES = 32;

// Say what is wrong and end the process; `number` follows the words.
[[noreturn]] void fail(const char* what, long number);

// All lanes of a warp come here with their operands; the last to come does the work for all.
void meet(const char* what, void* operands, void (*work)(void* const (&operands)[LANES]));

// Copies of this thread that arrive when they are waited for.
void begin_copy(void* to, const void* from, size_t size);
void commit_copies();
void wait_for_copies(size_t most);

// A kernel and its parameters: what run.cpp calls.
struct Kernel {
    int parameters;
    const size_t* sizes;
    void (*call)(void* const* places);
};

template <auto kernel, class... Parameters>
Kernel describe(void (*)(Parameters...))
{
    static const size_t sizes[sizeof...(Parameters) + 1] = {sizeof(Parameters)...};
    return {sizeof...(Parameters), sizes, [](void* const* places) {
                [&]<size_t... I>(std::index_sequence<I...>) {
                    kernel(*static_cast<Parameters*>(places[I])...);
                }(std::index_sequence_for<Parameters...>{});
            }};
}

extern const Kernel the_kernel;

}  // namespace on_cpu
