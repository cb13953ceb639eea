import os
import tempfile

import pytest

# What was measured on this machine must not decide which kernels the tests run.
os.environ["FASTCONV_AUTOTUNE_DIR"] = os.path.join(tempfile.gettempdir(), "fastconv-tests-have-no-choices")


@pytest.fixture
def all_threads(monkeypatch):
    """Kernels use all of Numba's threads, however small the problem."""
    monkeypatch.setattr("fastconv.kernels.cpu_parallel.OPERATIONS_PER_THREAD", 1)


@pytest.fixture
def forget_user_kernels():
    """Kernels that the test registers are gone after it."""
    from fastconv.kernels import registry

    yield
    for key, kernel in list(registry._kernels.items()):
        if kernel.run.__module__.startswith("user_kernels."):
            del registry._kernels[key]
