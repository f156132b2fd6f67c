"""The forecast page and its HTTP API.

    kalecast page

gradio_app/README.md lists the environment variables.
"""

import logging
import signal
import socket
import sys

from kalecast.page.callers import Callers
from kalecast.page.customers import CustomersError
from kalecast.page.settings import Settings
from kalecast.protocols.sockets import bound
from kalecast.settings import SettingsError


def main() -> int:
    """Serve until a signal ends it; the exit code says how it went."""
    # uvicorn repeats a signal that ended it: these make it, and one during the start, a clean end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        _serve(Settings())
    except (SettingsError, CustomersError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _serve(settings: Settings) -> None:
    listener = _bind(settings.host, settings.port, "KALECAST_PAGE_PORT")
    operators = None
    if settings.metrics_port:
        operators = _bind(settings.host, settings.metrics_port, "KALECAST_METRICS_PORT")
    callers = Callers(settings)
    # Only now, as it takes seconds: whatever is wrong so far is said at once.
    from kalecast.page import building

    building.run(settings, callers, listener, operators)


def _bind(host: str, port: int, setting: str) -> socket.socket:
    """An address, taken before the slow imports, so that a used port says so at once.

    Raises:
        SettingsError: it cannot be had.
    """
    try:
        return bound(host, port)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with {setting}."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
