"""A model server on a Kubernetes cluster, at local ports through `kubectl port-forward`.

    with PortForward("kubeflow-user-example-com") as forward:
        print(forward.http, forward.grpc)

It goes to the cluster of the current KUBECONFIG. The ports stay the same until it is closed: when
the pod behind it ends, they lead to the next one.
"""

import atexit
import contextlib
import queue
import re
import subprocess
import threading
import time
from typing import IO

from kalecast.cluster.kubernetes_service import (
    SERVICE,
    ClusterError,
    find_namespace,
    require_ready,
    service_ports,
)
from kalecast.lifetime import end, start

OPEN_SECONDS = 20.0
PAUSE_SECONDS = 0.5
"""Between two tries to open a connection whose pod has gone."""

END_SECONDS = 5.0
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> ")


class PortForward:
    """A connection to the model server's Service, open until `close`, or until this process ends.

    Args:
        namespace: the Service's; where left out, the one namespace that has such a Service.
        service: its name.

    Raises:
        ClusterError: no cluster, no such Service, no pod that is ready.
    """

    def __init__(self, namespace: str = "", service: str = SERVICE) -> None:
        self.service = service
        self.namespace = namespace or find_namespace(service)
        self._remote = service_ports(self.namespace, service)
        require_ready(self.namespace, service)
        self._local: dict[str, int] = {}
        self._closing = threading.Event()
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep_open, daemon=True)
        self._keeper.start()
        atexit.register(self.close)

    @property
    def http(self) -> str:
        """Host and port that answer HTTP."""
        return f"127.0.0.1:{self._local['http']}"

    @property
    def grpc(self) -> str:
        """Host and port that answer gRPC."""
        return f"127.0.0.1:{self._local['grpc']}"

    def __enter__(self) -> "PortForward":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._closing.set()
        end(self._process, END_SECONDS)
        self._keeper.join()
        atexit.unregister(self.close)

    def _keep_open(self) -> None:
        """Open the connection again, at the same ports, whenever the pod behind it has gone."""
        while not self._closing.is_set():
            self._process.wait()
            while not self._closing.wait(PAUSE_SECONDS):
                with contextlib.suppress(ClusterError):
                    self._process = self._start()
                    break
        end(self._process, END_SECONDS)

    def _start(self) -> subprocess.Popen[str]:
        """Start kubectl and wait until it listens."""
        command = ["kubectl", "--namespace", self.namespace, "port-forward", "--address=127.0.0.1"]
        pairs = [f"{self._local.get(name, '')}:{port}" for name, port in self._remote.items()]
        process = start(
            [*command, f"service/{self.service}", *pairs],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            self._local = dict(zip(self._remote, self._listening(process), strict=True))
        except BaseException:
            end(process, END_SECONDS)
            raise
        return process

    def _listening(self, process: subprocess.Popen[str]) -> list[int]:
        """The local ports, in the order in which they were requested."""
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
        deadline = time.monotonic() + OPEN_SECONDS
        ports: list[int] = []
        words: list[str] = []
        while len(ports) < len(self._remote):
            try:
                line = lines.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                line = ""
            if found := FORWARDING.match(line):
                ports.append(int(found[1]))
            elif line:
                words.append(line.strip())
            else:
                raise ClusterError(
                    f"kubectl port-forward failed for Service '{self.service}' in namespace "
                    f"'{self.namespace}': {' '.join(words) or 'it says nothing'}"
                )
        return ports


def _pass_on(output: IO[str], lines: "queue.Queue[str]") -> None:
    """Pass a process's lines on, to its end, which an empty one marks."""
    for line in output:
        lines.put(line)
    lines.put("")
