import pytest


@pytest.fixture
def all_threads(monkeypatch):
    """Kernels use all of Numba's threads, however small the problem."""
    monkeypatch.setattr("fastconv.kernels.cpu_parallel.OPERATIONS_PER_THREAD", 1)
