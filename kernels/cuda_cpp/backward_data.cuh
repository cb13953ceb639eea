// conv2d's gradient by x as matrix products whose left matrices are never written: one for each phase.
//
// The pixels of gx that are equal modulo the stride, a phase, are met by the same taps. A row of A for each of its pixels,
// a column of B for each channel, summed over the K filters of the taps that meet the phase. gy and w both have their
// filters side by side, so both operands are deep, and one set of indices does for both.
#pragma once
#include "cuda_cpp/quads.cuh"

struct BackwardDataPlan {
    int groups, channel_tiles;
    int phases, phases_w;  // all, and those beside each other
    int rows, columns;     // of a phase, at most
    int wide_k, wide_c;    // whether four filters are loaded, and channels stored, at a time
    int relu;
};

// From one tap that meets a pixel to the next: taps, and rows and columns of gy, upwards and to the left.
struct TapSteps {
    int r, s, p, q;
};

// The first tap that meets a row, or column, of x, and that of y to which it belongs: cuda_taps.first_tap. `taps` if none.
struct FirstTap {
    int tap = 0, out;

    __device__ FirstTap(int place, int taps, int stride, int dilation) : out(divide(place, stride))
    {
        int rest = remainder(place, stride);
        const int steps = divide(dilation, stride), step = remainder(dilation, stride);
        for (; rest != 0 && tap < taps; ++tap) {
            out -= steps, rest -= step;
            if (rest < 0)
                --out, rest += stride;
        }
    }
};

template <int DEPTH>
struct BackwardData {
    static constexpr bool A_DEEP = true, B_DEEP = true;
    using Place = Quads<DEPTH>;

    const float *gy, *w, *gate;
    const Conv2DGeometry& g;
    const TapSteps& step;
    const BackwardDataPlan& plan;
    int slices;
    int group, first_c, first_pixel;  // of the block's tile; the channel in its group, the pixel in its phase
    int h0, j0;                       // the phase's first pixel
    int r, s, up, back, k;  // the tap of the thread's next numbers, how far that is up and to the left in gy, the filter
    int first_s;
    int p[Place::COUNT], q[Place::COUNT], corner[Place::COUNT];  // of each pixel in gy with the first tap

    __device__ BackwardData(const float* gy, const float* w, const float* gate, const Conv2DGeometry& g,
                            const TapSteps& step, const BackwardDataPlan& plan)
        : gy(gy), w(w), gate(gate), g(g), step(step), plan(plan), up(0), back(0), k(Place::deep_depth())
    {
        int tile = blockIdx.x;  // neighbours have the same pixels of gy
        first_c = remainder(tile, plan.channel_tiles) * COLUMNS;
        tile = divide(tile, plan.channel_tiles);
        const int phase = remainder(tile, plan.phases);
        tile = divide(tile, plan.phases);
        group = remainder(tile, plan.groups);
        first_pixel = divide(tile, plan.groups) * ROWS;
        h0 = divide(phase, plan.phases_w), j0 = remainder(phase, plan.phases_w);
        const FirstTap row(h0 + g.pad_top, g.R, g.stride_h, g.dilation_h);
        const FirstTap column(j0 + g.pad_left, g.S, g.stride_w, g.dilation_w);
        r = row.tap, s = first_s = column.tap;
#pragma unroll
        for (int i = 0; i < Place::COUNT; ++i) {
            const Pixel pixel(plan, first_pixel + Place::deep_line(i));
            p[i] = pixel.row + row.out, q[i] = pixel.column + column.out;
            corner[i] = ((pixel.n * g.P + p[i]) * g.Q + q[i]) * g.K + group * g.group_K;
            if (pixel.n >= g.N)
                p[i] = -1;  // above gy with every tap
        }
        const int taps = taps_from(r, g.R, step.r) * taps_from(s, g.S, step.s);
        slices = divide(taps * g.group_K + DEPTH - 1, DEPTH);
        find_tap();
    }

    template <class ToA, class ToB>
    __device__ void next(const ToA& a, const ToB& b)
    {
        if (plan.wide_k) {
#pragma unroll
            for (int i = 0; i < Place::COUNT; ++i) {
                a.four(i, gy + in_gy(i), inside(i));
                b.four(i, w + in_w(i), is_channel(i));
            }
            k += DEPTH;
        }
        else {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
#pragma unroll
                for (int i = 0; i < Place::COUNT; ++i) {
                    a.one(i, e, gy + in_gy(i), inside(i));
                    b.one(i, e, w + in_w(i), is_channel(i));
                }
                ++k;
                find_tap();
            }
            k += DEPTH - 4;
        }
        find_tap();
    }

    __device__ float first_sum(int) const { return 0; }

    // What a ReLU whose output is `gate` lets through, if there is one.
    template <int COUNT>
    __device__ void store(float* gx, int row, int column, float (&sums)[COUNT]) const
    {
        const Pixel pixel(plan, first_pixel + row);
        const int h = h0 + pixel.row * g.stride_h, j = j0 + pixel.column * g.stride_w;
        if (pixel.n >= g.N || h >= g.H || j >= g.W)
            return;
        const int c = first_c + column, left = g.group_C - c;
        const int at = ((pixel.n * g.H + h) * g.W + j) * g.C + group * g.group_C + c;
#pragma unroll
        for (int e = 0; e < COUNT; ++e)
            if (plan.relu && left > e && gate[at + e] <= 0)
                sums[e] = 0;
        store_neighbours(gx + at, sums, left, plan.wide_c);
    }

private:
    // Image, row and column of a phase's pixel.
    struct Pixel {
        int n, row, column;

        __device__ Pixel(const BackwardDataPlan& plan, int pixel)
            : n(divide(pixel, plan.rows * plan.columns)),
              row(divide(remainder(pixel, plan.rows * plan.columns), plan.columns)),
              column(remainder(remainder(pixel, plan.rows * plan.columns), plan.columns))
        {
        }
    };

    static __device__ int taps_from(int first, int end, int step)
    {
        return first < end ? divide(end - first + step - 1, step) : 0;
    }

    // From a filter that may be none of the group's on to that of a later tap.
    __device__ void find_tap()
    {
        while (k >= g.group_K) {
            k -= g.group_K, s += step.s, back += step.q;
            if (s >= g.S)
                s = first_s, back = 0, r += step.r, up += step.p;
        }
    }

    __device__ int in_gy(int i) const { return corner[i] - (up * g.Q + back) * g.K + k; }
    __device__ bool inside(int i) const { return r < g.R && within(p[i] - up, g.P) && within(q[i] - back, g.Q); }
    __device__ int channel(int i) const { return first_c + Place::deep_line(i); }
    __device__ int in_w(int i) const { return ((r * g.S + s) * g.group_C + channel(i)) * g.K + group * g.group_K + k; }
    __device__ bool is_channel(int i) const { return r < g.R && channel(i) < g.group_C; }
};
