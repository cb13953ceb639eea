// The functions of kernels/cuda_cpp/instructions.cuh in plain C++: the same numbers in the same lanes and registers.
//
// A copy is done when it is waited for, so that what is read too early is NaN. A product is exact before it is added;
// the sum of a product's terms is made in double and rounded once, where a GPU rounds in an order of its own.
#pragma once

namespace on_cpu {

inline float as_float(unsigned bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned as_bits(float value)
{
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline void begin_aligned_copy(void* to, const void* from, bool inside, size_t size)
{
    if (reinterpret_cast<uintptr_t>(to) % size || (inside && reinterpret_cast<uintptr_t>(from) % size))
        fail("a copy is not aligned to its bytes,", size);
    begin_copy(to, inside ? from : nullptr, size);
}

struct Load {
    const void* row;
    unsigned (*out)[4];
};

template <bool TURNED>
void load_for_all(void* const (&operands)[LANES])
{
    uint16_t matrices[4][8][8];
    for (int lane = 0; lane < LANES; ++lane) {
        const void* row = static_cast<Load*>(operands[lane])->row;
        if (reinterpret_cast<uintptr_t>(row) % 16)
            fail("a row for load_matrices is not aligned, that of lane", lane);
        std::memcpy(matrices[lane / 8][lane % 8], row, 16);
    }
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < 4; ++i) {
            const int g = lane / 4, t = lane % 4;
            const uint16_t low = TURNED ? matrices[i][2 * t][g] : matrices[i][g][2 * t];
            const uint16_t high = TURNED ? matrices[i][2 * t + 1][g] : matrices[i][g][2 * t + 1];
            (*static_cast<Load*>(operands[lane])->out)[i] = low | static_cast<unsigned>(high) << 16;
        }
}

struct Product {
    float (*d)[4];
    unsigned a[4], b[2];
};

// NUMBERS: of the depth in 32 bits, 1 of TF32 or 2 of BF16.
template <int NUMBERS>
float number_in(unsigned bits, int which)
{
    if (NUMBERS == 2)
        return as_float(which ? bits & 0xffff0000u : bits << 16);
    if (bits & 0x1fffu && !std::isnan(as_float(bits)))
        fail("mma_tf32 is given a number that is no TF32, of the bits", bits);
    return as_float(bits);
}

template <int NUMBERS>
void multiply_for_all(void* const (&operands)[LANES])
{
    constexpr int DEPTH = 8 * NUMBERS;
    double a[16][DEPTH], b[DEPTH][8];
    for (int lane = 0; lane < LANES; ++lane) {
        const Product& of = *static_cast<Product*>(operands[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int n = 0; n < NUMBERS; ++n)
            for (int half = 0; half < 2; ++half) {
                const int k = (half * 4 + t) * NUMBERS + n;
                a[g][k] = number_in<NUMBERS>(of.a[half * 2], n);
                a[g + 8][k] = number_in<NUMBERS>(of.a[half * 2 + 1], n);
                b[k][g] = number_in<NUMBERS>(of.b[half], n);
            }
    }
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float& d = (*static_cast<Product*>(operands[lane])->d)[i];
            double sum = d;
            for (int k = 0; k < DEPTH; ++k)
                sum += a[row][k] * b[k][column];
            d = static_cast<float>(sum);
        }
}

}  // namespace on_cpu

inline void copy16_async(void* to, const void* from, bool inside)
{
    on_cpu::begin_aligned_copy(to, from, inside, 16);
}

inline void copy4_async(void* to, const void* from, bool inside)
{
    on_cpu::begin_aligned_copy(to, from, inside, 4);
}

inline void commit_async()
{
    on_cpu::commit_copies();
}

template <int MOST>
void wait_async()
{
    on_cpu::wait_for_copies(MOST);
}

inline void load_matrices(unsigned (&out)[4], const void* row)
{
    on_cpu::Load mine = {row, &out};
    on_cpu::meet("load_matrices", &mine, on_cpu::load_for_all<false>);
}

inline void load_turned_matrices(unsigned (&out)[4], const void* row)
{
    on_cpu::Load mine = {row, &out};
    on_cpu::meet("load_turned_matrices", &mine, on_cpu::load_for_all<true>);
}

inline float __uint_as_float(unsigned bits)
{
    return on_cpu::as_float(bits);
}

inline unsigned tf32(float value)
{
    return std::isnan(value) ? 0x7fffffffu : (on_cpu::as_bits(value) + 0x1000u) & 0xffffe000u;
}

inline unsigned bfloat16_pair(float low, float high)
{
    const auto rounded = [](float value) {
        const unsigned bits = on_cpu::as_bits(value);
        return std::isnan(value) ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    };
    return rounded(low) | rounded(high) << 16;
}

inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    on_cpu::Product mine = {&d, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    on_cpu::meet("mma_tf32", &mine, on_cpu::multiply_for_all<1>);
}

inline void mma_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    on_cpu::Product mine = {&d, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    on_cpu::meet("mma_bfloat16", &mine, on_cpu::multiply_for_all<2>);
}
