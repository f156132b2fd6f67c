"""A new model file tried out in a process of its own, before the server opens it.

A graph may need more memory than there is, or compute without end, and ONNX Runtime would do
so inside the server. Here a process that may take little of either does it first. If it dies,
the file is refused, and the server goes on with the model that it has.
"""

import math
import os
import resource
import subprocess
import sys

from kalecast import lifetime
from kalecast.artifact.contract import ContractError

MEMORY = 320 * 2**20
"""Bytes. A model of 2 MiB takes 130; the server's pod has 512, of which the server uses 100."""
SECONDS = 20.0
"""Opening a file and forecasting once takes less than one, on a busy machine a few."""
WINDOWS = 1024
"""As many as one request may bring at the most, and so one forward pass."""
SECRET_PREFIXES = ("AWS_", "KALECAST_")
"""Variables of the environment that a trial has no use for: keys of the store and of models."""


def try_out(model_file: bytes, memory: int = MEMORY, seconds: float = SECONDS) -> None:
    """Open a model file and forecast once, in a process of its own.

    Raises:
        ContractError: it is no model file, does not forecast, or takes too much memory or time.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(SECRET_PREFIXES)}
    try:
        tried = subprocess.run(
            [
                *(sys.executable, "-P", "-m", __spec__.name),
                *(str(memory), str(math.ceil(seconds)), str(os.getpid())),
            ],
            input=model_file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ContractError(
            f"Expected a model that forecasts once within {seconds:g} s, received none in time."
        ) from None
    if tried.returncode:
        raise ContractError(tried.stdout.decode(errors="replace").strip() or _died(memory))


def _died(memory: int) -> str:
    return (
        f"Expected a model that forecasts once in {memory >> 20} MiB of memory, received one "
        "whose process came to its end without a word."
    )


def main() -> int:
    """Try the file on standard input; the error goes to standard output."""
    memory, seconds, parent = map(int, sys.argv[1:])
    lifetime.die_with_parent()
    if os.getppid() != parent:
        return 1
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)  # customers of the model in use come first
    from kalecast.serving.model import open_content

    try:
        open_content(sys.stdin.buffer.read(), WINDOWS)
    except (ContractError, MemoryError) as error:
        print(" ".join(str(error).split()) or "Not enough memory.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
