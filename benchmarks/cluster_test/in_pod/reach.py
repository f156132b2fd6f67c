"""Which addresses a connection can be opened to, from where this runs.

    python - HOST:PORT ... < reach.py

Prints a JSON object: true, or what came instead.
"""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SECONDS = 4.0


def reached(address: str) -> bool | str:
    """Whether a connection came about."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except OSError as error:
        return str(error) or type(error).__name__
    return True


if __name__ == "__main__":
    with ThreadPoolExecutor(16) as pool:
        print(json.dumps(dict(zip(sys.argv[1:], pool.map(reached, sys.argv[1:]), strict=True))))
