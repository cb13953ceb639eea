"""The simulator in a GPU's place: what tests of launches share."""

import contextlib

from fastconv.kernels import cuda
from fastconv.testing import simulate
from fastconv.testing.launching import simulate_launch


def simulated(launch):
    """What the simulator says of a launch."""
    return simulate(
        launch.kernel, launch.grid, launch.block, *launch.args, shared_bytes=launch.shared_bytes, trace_block=None
    )


@contextlib.contextmanager
def lab():
    """Within, launches are simulated; yields the list of those that ran."""
    ran = []

    def launcher(launch):
        ran.append(launch)
        simulate_launch(launch)

    with cuda.launched_by(launcher):
        yield ran


def run(launches):
    """Simulate launches, in their order."""
    with lab():
        for launch in launches:
            launch()
