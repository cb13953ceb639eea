// conv2d's gradient by x in float32: taps of gy times w, a tile of 128 pixels x 128 channels a block.
#include "cuda_cpp/backward_data.cuh"
#include "cuda_cpp/product_float32.cuh"

using Source = BackwardData<8>;
using Product = ProductFloat32<Source>;

extern "C" __global__ void __launch_bounds__(THREADS, 2)
backward_data(const float* gy, const float* w, const float* gate, float* gx, Conv2DGeometry g, TapSteps step,
              BackwardDataPlan plan)
{
    __shared__ Product::Slices slices;
    Source source(gy, w, gate, g, step, plan);
    Product product(source);
    product.run(slices, source);
    product.finish([&](int row, int column, auto& sums) { source.store(gx, row, column, sums); });
}
