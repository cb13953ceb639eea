"""The dtype policy: its names, what it allows, and a training step on a GPU, simulated, in each precision."""

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import config, device, kernels, layers, mixed_precision
from fastconv.config import DTypePolicy
from fastconv.ops.dispatch import kernel_on_gpu
from fastconv.testing.shim import no_compiler

PROBLEM = kernels.Conv2DProblem.parse("N=2 H=7 W=6 C=128 K=128 R=3 S=3")
OPS = ("conv2d", "conv2d_backward_data", "conv2d_backward_filter")


@pytest.fixture(autouse=True)
def policy_as_before():
    yield
    config.set_dtype_policy("float32")


def test_names():
    assert config.dtype_policy() == DTypePolicy("float32")
    config.set_dtype_policy("mixed_bfloat16")
    policy = mixed_precision.global_policy()
    assert (policy.name, policy.compute_dtype, policy.variable_dtype) == ("mixed_bfloat16", "bfloat16", "float32")
    mixed_precision.set_global_policy(DTypePolicy("tf32"))
    assert config.dtype_policy().compute_dtype == "tf32"


@pytest.mark.parametrize(
    "policy, error, said",
    [
        ("bfloat16", ValueError, "must be one of 'float32', 'tf32', 'mixed_bfloat16', not 'bfloat16'."),
        ("mixed_float16", ValueError, "not 'mixed_float16': float16 would need its loss scaled"),
        ("float64", ValueError, "set_floatx"),
        (16, TypeError, "policy must be a name or a DTypePolicy, not 16."),
    ],
)
def test_what_is_refused_changes_nothing(policy, error, said):
    config.set_dtype_policy("tf32")
    with pytest.raises(error, match=said):
        config.set_dtype_policy(policy)
    assert config.dtype_policy().name == "tf32"


@pytest.mark.parametrize("op", OPS)
def test_a_policy_allows_kernels_of_its_precision_and_no_others(op):
    chosen = {}
    for policy in ("float32", "tf32", "mixed_bfloat16"):
        config.set_dtype_policy(policy)
        chosen[policy] = kernel_on_gpu(op, PROBLEM).name
    assert chosen == {
        "float32": "cuda_implicit_gemm",
        "tf32": "cudacpp_implicit_gemm_tf32",
        "mixed_bfloat16": "cudacpp_implicit_gemm_bf16",
    }
    assert kernel_on_gpu(op, PROBLEM, "cuda_naive").name == "cuda_naive", "a name counts whatever the policy"
    assert kernels.choose(op, PROBLEM).precision == "", "a CPU computes in float32"


@pytest.mark.skipif(no_compiler() is not None, reason=str(no_compiler()))
def test_a_step_on_a_gpu_is_as_precise_as_the_policy_says():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 5, 8)).astype("float32"), rng.integers(0, 3, 2)
    weights, names = {}, {}
    for policy in ("float32", "tf32", "mixed_bfloat16"):
        config.set_dtype_policy(policy)
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [layers.Input((6, 5, 8)), layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(4, 2), layers.Flatten()]
            + [layers.Dense(3, activation="softmax")]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        with lab() as launches, device("gpu"):
            model.train_on_batch(x, y)
        weights[policy] = np.concatenate([array.reshape(-1) for array in model.get_weights()])
        names[policy] = {launch.kernel.path.name for launch in launches if hasattr(launch.kernel, "path")}
    assert names == {
        "float32": set(),
        "tf32": {"cudacpp_implicit_gemm_tf32.cu"},
        "mixed_bfloat16": {"cudacpp_implicit_gemm_bf16.cu"},
    }
    moved = np.linalg.norm(weights["float32"])
    errors = {policy: np.linalg.norm(weights[policy] - weights["float32"]) / moved for policy in names}
    assert 0 < errors["tf32"] < errors["mixed_bfloat16"] < 1e-3
