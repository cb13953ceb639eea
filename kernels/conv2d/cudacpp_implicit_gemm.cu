// conv2d in float32: windows of x times w, a tile of 128 pixels x 128 filters a block.
#include "cuda_cpp/forward.cuh"
#include "cuda_cpp/product_float32.cuh"

using Source = Forward<8>;
using Product = ProductFloat32<Source>;

extern "C" __global__ void __launch_bounds__(THREADS, 2)
conv2d(const float* x, const float* w, const float* bias, float* y, Conv2DGeometry g, ForwardPlan plan)
{
    __shared__ Product::Slices slices;
    Source source(x, w, bias, g, plan);
    Product product(source);
    product.run(slices, source);
    product.finish([&](int row, int column, auto& sums) { source.store(y, row, column, sums); });
}
