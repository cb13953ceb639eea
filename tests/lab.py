"""The simulator in a GPU's place: what tests of launches share."""

import contextlib
import importlib.util
import inspect

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


def made_of(source, path):
    """The module of that text, which is written to a file."""
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planted(module, right, wrong, folder):
    """The module with a fault: `right`, which its source holds once, is `wrong`."""
    source = inspect.getsource(module)
    assert source.count(right) == 1
    return made_of(source.replace(right, wrong), folder / "planted.py")
