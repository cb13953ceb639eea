// conv2d as a matrix product whose left matrix is never written.
//
// A row of A for each pixel of y, its R*S*C numbers a window of x; B is w as it lies, a column for each filter. So A is
// deep (channels lie side by side) and B is wide.
#pragma once
#include "cuda_cpp/quads.cuh"

struct ForwardPlan {
    int groups, filter_tiles, slices;
    int wide_x, wide_w, wide_y;  // whether four channels are loaded, filters loaded, filters stored at a time
    int has_bias, relu;
};

template <int DEPTH>
struct Forward {
    static constexpr bool A_DEEP = true, B_DEEP = false;
    using Place = Quads<DEPTH>;

    const float *x, *w, *bias;
    const Conv2DGeometry& g;
    const ForwardPlan& plan;
    int slices;
    int group, first_k, first_pixel;  // of the block's tile; the filter in its group
    int r, s, c;                      // the tap and the channel of the thread's next numbers
    int element = 0;                  // of a window, where the next slice begins
    int h[Place::COUNT], j[Place::COUNT], corner[Place::COUNT];  // of each window, row and column, and where in x

    __device__ Forward(const float* x, const float* w, const float* bias, const Conv2DGeometry& g,
                       const ForwardPlan& plan)
        : x(x), w(w), bias(bias), g(g), plan(plan), slices(plan.slices), r(0), s(0), c(Place::deep_depth())
    {
        int tile = blockIdx.x;  // neighbours have the same pixels
        first_k = remainder(tile, plan.filter_tiles) * COLUMNS;
        tile = divide(tile, plan.filter_tiles);
        group = remainder(tile, plan.groups);
        first_pixel = divide(tile, plan.groups) * ROWS;
#pragma unroll
        for (int i = 0; i < Place::COUNT; ++i) {
            const int pixel = first_pixel + Place::deep_line(i);
            const int row = divide(pixel, g.Q), n = divide(row, g.P);
            h[i] = remainder(row, g.P) * g.stride_h - g.pad_top;
            j[i] = remainder(pixel, g.Q) * g.stride_w - g.pad_left;
            corner[i] = ((n * g.H + h[i]) * g.W + j[i]) * g.C + group * g.group_C;
            if (n >= g.N)
                h[i] = -(1 << 30);  // above the image with every tap
        }
        find_tap();
    }

    template <class ToA, class ToB>
    __device__ void next(const ToA& a, const ToB& b)
    {
        if (plan.wide_x) {
#pragma unroll
            for (int i = 0; i < Place::COUNT; ++i)
                a.four(i, x + at(i), inside(i));
            c += DEPTH;
        }
        else {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
#pragma unroll
                for (int i = 0; i < Place::COUNT; ++i)
                    a.one(i, e, x + at(i), inside(i));
                ++c;
                find_tap();
            }
            c += DEPTH - 4;
        }
        find_tap();
        const int left = g.group_K - first_k - Place::wide_line();
#pragma unroll
        for (int i = 0; i < Place::COUNT; ++i) {
            const int row = element + Place::wide_depth(i);
            const bool there = row < g.R * g.S * g.group_C;
            const float* from = w + (row * g.K + group * g.group_K + first_k + Place::wide_line());
            if (plan.wide_w)
                b.four(i, from, there && left > 0);
            else
                for (int e = 0; e < 4; ++e)
                    b.one(i, e, from + e, there && left > e);
        }
        element += DEPTH;
    }

    __device__ float first_sum(int column) const
    {
        const int k = first_k + column;
        return plan.has_bias && k < g.group_K ? bias[group * g.group_K + k] : 0.0f;
    }

    template <int COUNT>
    __device__ void store(float* y, int row, int column, float (&sums)[COUNT]) const
    {
        const int pixel = first_pixel + row, k = first_k + column, left = g.group_K - k;
        if (pixel >= g.N * g.P * g.Q)
            return;
#pragma unroll
        for (int e = 0; e < COUNT; ++e)
            if (plan.relu && sums[e] < 0)  // so that NaN stays
                sums[e] = 0;
        store_neighbours(y + (pixel * g.K + group * g.group_K + k), sums, left, plan.wide_y);
    }

private:
    // From a channel that may be none of the group's on to that of a later tap.
    __device__ void find_tap()
    {
        while (c >= g.group_C) {
            c -= g.group_C;
            if (++s == g.S)
                ++r, s = 0;
        }
    }
    __device__ int at(int i) const { return corner[i] + (r * g.dilation_h * g.W + s * g.dilation_w) * g.C + c; }
    __device__ bool inside(int i) const
    {
        return r < g.R && within(h[i] + r * g.dilation_h, g.H) && within(j[i] + s * g.dilation_w, g.W);
    }
};
