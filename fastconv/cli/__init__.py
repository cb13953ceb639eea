"""The command `fastconv`. Each subcommand is a module with `add_arguments(parser)` and `run(args)`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from fastconv import __version__
from fastconv.cli import bench, info, inspect, new_kernel, train, verify
from fastconv.cli.checks import CommandError

_COMMANDS = {
    "train": train,
    "bench": bench,
    "verify": verify,
    "inspect": inspect,
    "new-kernel": new_kernel,
    "info": info,
}
_EXAMPLES = """examples:
  fastconv train                                  train on the digits that come with fastconv
  fastconv train --dataset mnist --epochs 5       train on MNIST
  fastconv bench conv2d                           which kernel is fastest here, and how far from the limit
  fastconv inspect cuda_shared                    what a compiler makes of a CUDA kernel; no GPU is needed
  fastconv info                                   what this machine has and which kernels there are
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for a bad argument, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="fastconv",
        description="Train Keras-style convolutional networks on the CPU; time, check and write their kernels.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, prog=command.prog)
    words = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(words)
    args.command_line = shlex.join(["fastconv", *words])  # for what is kept of a run
    try:
        return args.run(args)
    except CommandError as error:
        print(f"{args.prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
