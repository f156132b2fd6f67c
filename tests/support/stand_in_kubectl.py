"""A `kubectl` for tests: says what a file says, and forwards ports to servers of this machine.

`KUBECTL_STATE` names the file, JSON: `services` by namespace, `pods`, whether one is `ready`,
`targets` by port of the Service, or an `error` in place of all answers. What it was called with
goes into the file `calls` beside it, the process of each forwarding into `forwards`.
"""

import json
import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> int:
    """Answer one call; the exit code."""
    state_file = Path(os.environ["KUBECTL_STATE"])
    state = json.loads(state_file.read_text())
    with state_file.with_name("calls").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    if arguments[:2] == ["config", "current-context"]:
        print("tests")
        return 0
    if "error" in state:
        print(state["error"], file=sys.stderr)
        return 1
    if "port-forward" in arguments:
        with state_file.with_name("forwards").open("a") as forwards:
            forwards.write(f"{os.getpid()}\n")
        return forward(arguments, state)
    return get(arguments, state)


def get(arguments: list[str], state: dict[str, Any]) -> int:
    """Print objects."""
    what = arguments[1]
    namespace = arguments[arguments.index("--namespace") + 1] if "--namespace" in arguments else ""
    service = state["services"].get(namespace)
    if what == "service" and service is None:
        print(f'Error from server (NotFound): services "{arguments[2]}" not found', file=sys.stderr)
        return 1
    condition = {"conditions": {"ready": state["ready"]}}
    answers = {
        "service": service,
        "services": {"items": [{"metadata": {"namespace": name}} for name in state["services"]]},
        "endpointslices": {"items": [{"endpoints": [condition]}, {"endpoints": None}]},
        "pods": {"items": state.get("pods", [])},
    }
    print(json.dumps(answers[what]))
    return 0


def forward(arguments: list[str], state: dict[str, Any]) -> int:
    """Relay each port until killed."""
    if "forward_error" in state:
        print(state["forward_error"], file=sys.stderr)
        return 1
    threads = []
    for pair in arguments[arguments.index("--address=127.0.0.1") + 2 :]:
        local, _, remote = pair.partition(":")
        listener = socket.create_server(("127.0.0.1", int(local or 0)))
        print(f"Forwarding from 127.0.0.1:{listener.getsockname()[1]} -> {remote}", flush=True)
        target = state["targets"][remote]
        threads.append(threading.Thread(target=_accept, args=(listener, target), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return 0


def _accept(listener: socket.socket, target: int) -> None:
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", target))
        except OSError:
            near.close()
            continue
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=_relay, args=(one, other), daemon=True).start()


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
