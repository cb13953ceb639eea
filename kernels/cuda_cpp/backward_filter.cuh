// conv2d's gradient by w as a matrix product whose left matrix is never written.
//
// A row of A for each tap and channel of a group, a column of B for each filter, summed over a chunk of the pixels. x has
// the rows of a tap side by side and gy its filters, so both operands are wide. A thread copies the same rows all along,
// so their taps are worked out once; what changes are its pixels, which it counts on.
#pragma once
#include "cuda_cpp/quads.cuh"

struct BackwardFilterPlan {
    int row_tiles, filter_tiles, groups;
    int wide_x, wide_gy, wide_gw;  // whether four channels are loaded, filters loaded, filters stored at a time
    int pixels, pitch;             // of a chunk, and from its sums to the next one's
};

// From a pixel to the one DEPTH further: cuda_pixels.Step.
struct PixelStep {
    int images, rows, columns;
};

template <int DEPTH>
struct BackwardFilter {
    static constexpr bool A_DEEP = false, B_DEEP = false;
    using Place = Quads<DEPTH>;

    const float *x, *gy;
    const Conv2DGeometry& g;
    const PixelStep& step;
    const BackwardFilterPlan& plan;
    int slices;
    int chunk, group, first_k, first_row;  // of the block's tile; filter and row in their group
    int pixel, end;                        // of the next slice, and of the chunk
    int r, s, c;                           // of the thread's first row
    int n[Place::COUNT], p[Place::COUNT], q[Place::COUNT];  // of its pixels

    __device__ BackwardFilter(const float* x, const float* gy, const Conv2DGeometry& g, const PixelStep& step,
                              const BackwardFilterPlan& plan)
        : x(x), gy(gy), g(g), step(step), plan(plan)
    {
        int tile = blockIdx.x;  // neighbours have the same pixels
        first_k = remainder(tile, plan.filter_tiles) * COLUMNS;
        tile = divide(tile, plan.filter_tiles);
        first_row = remainder(tile, plan.row_tiles) * ROWS;
        tile = divide(tile, plan.row_tiles);
        group = remainder(tile, plan.groups), chunk = divide(tile, plan.groups);
        pixel = chunk * plan.pixels;
        end = pixel + plan.pixels < g.N * g.P * g.Q ? pixel + plan.pixels : g.N * g.P * g.Q;
        slices = (end - pixel + DEPTH - 1) / DEPTH;
        const int row = first_row + Place::wide_line(), tap = divide(row, g.group_C);
        r = divide(tap, g.S), s = remainder(tap, g.S), c = remainder(row, g.group_C);
#pragma unroll
        for (int i = 0; i < Place::COUNT; ++i) {
            const int mine = pixel + Place::wide_depth(i), line = divide(mine, g.Q);
            n[i] = divide(line, g.P), p[i] = remainder(line, g.P), q[i] = remainder(mine, g.Q);
        }
    }

    template <class ToA, class ToB>
    __device__ void next(const ToA& a, const ToB& b)
    {
        const int left = g.group_K - first_k - Place::wide_line();
#pragma unroll
        for (int i = 0; i < Place::COUNT; ++i) {
            const int mine = pixel + Place::wide_depth(i);
            const bool there = mine < end;
            if (plan.wide_x)
                a.four(i, x + at(i, r, s, c), there && inside(i, r, s));
            else {
                int tap_r = r, tap_s = s, channel = c;
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    a.one(i, e, x + at(i, tap_r, tap_s, channel), there && inside(i, tap_r, tap_s));
                    if (++channel == g.group_C)
                        ++tap_s, channel = 0;
                    if (tap_s == g.S)
                        ++tap_r, tap_s = 0;
                }
            }
            const float* from = gy + (mine * g.K + group * g.group_K + first_k + Place::wide_line());
            if (plan.wide_gy)
                b.four(i, from, there && left > 0);
            else
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    b.one(i, e, from + e, there && left > e);
            walk_on(i);
        }
        pixel += DEPTH;
    }

    __device__ float first_sum(int) const { return 0; }

    template <int COUNT>
    __device__ void store(float* gw, int row, int column, float (&sums)[COUNT]) const
    {
        const int k = first_k + column;
        if (first_row + row < g.R * g.S * g.group_C) {
            float* to = gw + (chunk * plan.pitch + (first_row + row) * g.K + group * g.group_K + k);
            store_neighbours(to, sums, g.group_K - k, plan.wide_gw);
        }
    }

private:
    __device__ void walk_on(int i)
    {
        q[i] += step.columns, p[i] += step.rows, n[i] += step.images;
        if (q[i] >= g.Q)
            q[i] -= g.Q, ++p[i];
        if (p[i] >= g.P)
            p[i] -= g.P, ++n[i];
    }
    __device__ int h(int i, int r) const { return p[i] * g.stride_h - g.pad_top + r * g.dilation_h; }
    __device__ int j(int i, int s) const { return q[i] * g.stride_w - g.pad_left + s * g.dilation_w; }
    __device__ int at(int i, int r, int s, int c) const
    {
        return ((n[i] * g.H + h(i, r)) * g.W + j(i, s)) * g.C + group * g.group_C + c;
    }
    __device__ bool inside(int i, int r, int s) const { return r < g.R && within(h(i, r), g.H) && within(j(i, s), g.W); }
};
