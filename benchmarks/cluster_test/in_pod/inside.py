"""What a pod's process may do, from inside: prints a JSON object."""

import json
import os
import tempfile
from pathlib import Path

FOLDERS = ("/", "/app", "/opt", "/usr/local", "/var", "/home")
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def is_writable(folder: str) -> bool:
    """Whether a file can be made there."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def status() -> dict[str, str]:
    """What the kernel says of the container's first process."""
    lines = Path("/proc/1/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


if __name__ == "__main__":
    kernel = status()
    neighbours = {
        name.removesuffix("_SERVICE_HOST") for name in os.environ if name.endswith("_SERVICE_HOST")
    }
    print(
        json.dumps(
            {
                "user": int(kernel["Uid"].split()[0]),
                "writable": [folder for folder in FOLDERS if is_writable(folder)],
                "tmp": is_writable("/tmp"),
                "token": TOKEN.exists(),
                "capabilities": int(kernel["CapEff"], 16),
                "no_new_privileges": kernel.get("NoNewPrivs") == "1",
                "seccomp": kernel.get("Seccomp") == "2",
                "neighbours": sorted(neighbours - {"KUBERNETES"}),
            }
        )
    )
