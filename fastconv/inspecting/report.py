"""A registered kernel taken apart: for each launch and architecture what it takes and how it fills a multiprocessor."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastconv.inspecting import sass
from fastconv.inspecting.architectures import Architecture
from fastconv.inspecting.compile import Compiled, compile_kernel, source
from fastconv.inspecting.occupancy import Occupancy, occupancy
from fastconv.kernels import Kernel
from fastconv.kernels.cuda import Launch, TooOldError, lacks, shared_line
from fastconv.testing.kernel_cases import empty_arrays


@dataclass(frozen=True)
class Inspected:
    """One launch of a kernel on one architecture.

    Attributes:
        op, kernel: names in the registry.
        launch: as the kernel describes it for the problem.
        compiled: what it launches, compiled.
        occupancy: of that launch.
    """

    op: str
    kernel: str
    launch: Any
    compiled: Compiled
    occupancy: Occupancy

    @property
    def function(self) -> str:
        """The name of what is launched, in the source."""
        return str(self.launch.kernel.name)

    @property
    def launch_text(self) -> str:
        """What is launched, in words."""
        grid, block = (" x ".join(map(str, size)) for size in (self.launch.grid, self.launch.block))
        dynamic = f", {self.launch.shared_bytes} bytes of dynamic shared memory" if self.launch.shared_bytes else ""
        return f"{self.kernel} {self.function}: {grid} blocks of {block} threads{dynamic}"

    @property
    def mix(self) -> dict[str, int]:
        """Instructions by group."""
        return sass.mix(self.compiled.instructions)

    @property
    def instruction_count(self) -> int:
        """Instructions, each counted once however often it runs."""
        return sum(self.mix.values())

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block, static and dynamic."""
        return int(self.compiled.resources.static_shared_bytes + self.launch.shared_bytes)

    def source_lines(self) -> tuple[str, dict[int, str], dict[int, int]]:
        """The file, its lines and those of shared files by number, and how many instructions come from each."""
        file, lines = source(self.launch.kernel)
        counts = Counter(i.line for i in self.compiled.instructions if i.line in lines and i.opcode != "NOP")
        return file, lines, {line: counts[line] for line in lines}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the code, as plain data."""
        file, lines, counts = self.source_lines()
        return {
            "op": self.op,
            "kernel": self.kernel,
            "function": self.function,
            "arch": self.compiled.architecture.name,
            "grid": list(self.launch.grid),
            "block": list(self.launch.block),
            "dynamic_shared_bytes": self.launch.shared_bytes,
            **asdict(self.compiled.resources),
            "occupancy": {**asdict(self.occupancy), "limited_by": list(self.occupancy.limited_by)},
            "instructions": self.instruction_count,
            "mix": self.mix,
            "file": file,
            "lines": [
                {
                    "file": shared_line(line)[0] or file,
                    "line": shared_line(line)[1],
                    "source": text,
                    "instructions": counts[line],
                }
                for line, text in lines.items()
            ],
        }


def inspect_kernel(kernel: Kernel, problem: Any, architectures: Sequence[Architecture]) -> list[Inspected]:
    """Compile what `kernel` launches for `problem`, for each architecture that has the instructions.

    Raises:
        ValueError: the kernel runs on the CPU, does not support the problem or describes no launches.
        ToolkitError: it cannot be compiled here.
        TooOldError: none of the architectures has its instructions.
    """
    if kernel.device != "gpu":
        raise ValueError(f"{kernel.name} runs on the CPU; only kernels for a GPU are compiled for one.")
    reason = kernel.unsupported(problem)
    if reason is not None:
        raise ValueError(f"{kernel.op} {kernel.name} cannot run {problem}: {reason}.")
    workspace = np.empty(kernel.workspace_bytes(problem), np.uint8)
    described = kernel.run(problem, *empty_arrays(kernel.op, problem), workspace) or ()
    launches = [launch for launch in described if isinstance(launch, Launch)]  # the others are a library's
    if not launches:
        raise ValueError(f"{kernel.op} {kernel.name} describes no launches.")
    needs = max(launch.kernel.needs for launch in launches)
    able = [architecture for architecture in architectures if architecture.compute_capability >= needs]
    if architectures and not able:
        newest = max(architecture.compute_capability for architecture in architectures)
        raise TooOldError(f"{kernel.op} {kernel.name} cannot be compiled: {lacks(newest, needs)}.")
    return [_inspect(kernel, launch, architecture) for launch in launches for architecture in able]


def _inspect(kernel: Kernel, launch: Any, architecture: Architecture) -> Inspected:
    compiled = compile_kernel(launch.kernel, architecture)
    taken = compiled.resources
    shared = taken.static_shared_bytes + launch.shared_bytes
    filled = occupancy(architecture, math.prod(launch.block), taken.registers, shared, taken.barriers)
    return Inspected(kernel.op, kernel.name, launch, compiled, filled)
