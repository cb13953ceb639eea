"""Training and inference on a GPU: a model's step as a list of launches, made once for a shape of batch and replayed.

    memory.py      arrays on the device, and the stream that all work is queued on
    parameters.py  the weights and an optimizer's slots there, as one flat buffer each
    program.py     launches in their order, captured into a CUDA graph
    recorded.py    what stands for a layer in a program
    layers.py, images.py, merging.py, noise.py, normalization.py, reshaping.py, sample_normalization.py
                   what each layer adds
    elementwise.py what activations add
    along.py       arrays seen as rows along some axes
    penalties.py   what regularizers add
    network.py     the layers of a model, forward and backward
    objective.py   what losses and metrics add; judges.py, tallies.py, watched.py
                   those that are sums of values, those that count, and those that the host computes
    updates.py     what an optimizer adds
    options.py     what a program is made from that a user may change between steps
    runner.py      the steps that `fit`, `evaluate` and `predict` ask for

Nothing of this computes: the kernels are in `fastconv.kernels`. Within `kernels.cuda.launched_by` NumPy's arrays are
the device's memory, so all of it runs without a GPU too.
"""
