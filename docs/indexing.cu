// What docs/indexing.py writes in Python, compiled with -DIndex=int or -DIndex=unsigned.
extern "C" __global__ void __launch_bounds__(256)
convolution(const float *x, const float *w, float *y, Index N, Index H, Index W, Index C, Index R, Index S, Index P,
            Index Q, Index K) {
    Index i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < N * P * Q * K) {
        Index k = i % K, q = i / K % Q, p = i / K / Q % P, n = i / K / Q / P;
        float total = 0;
        for (Index r = 0; r < R; r++)
            for (Index s = 0; s < S; s++)
                for (Index c = 0; c < C; c++)
                    total += x[((n * H + p + r) * W + q + s) * C + c] * w[((r * S + s) * C + c) * K + k];
        y[i] = total;
    }
}
