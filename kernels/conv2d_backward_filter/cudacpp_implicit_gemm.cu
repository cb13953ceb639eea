// conv2d's gradient by w in float32: windows of x times gy, a tile of 128 taps and channels x 128 filters a block.
#include "cuda_cpp/backward_filter.cuh"
#include "cuda_cpp/product_float32.cuh"

using Source = BackwardFilter<8>;
using Product = ProductFloat32<Source>;

extern "C" __global__ void __launch_bounds__(THREADS, 2)
backward_filter(const float* x, const float* gy, float* gw, Conv2DGeometry g, PixelStep step, BackwardFilterPlan plan)
{
    __shared__ Product::Slices slices;
    Source source(x, gy, g, step, plan);
    Product product(source);
    product.run(slices, source);
    product.finish([&](int row, int column, auto& sums) { source.store(gw, row, column, sums); });
}
