"""The gateway on this machine: nginx + ModSecurity in front of the page of `make run`.

    kalecast protect --page 127.0.0.1:7860

The rules are those of the cluster. A certificate is made where none is given: browsers warn of
it, and programs can be configured to trust it. Ctrl-C ends the gateway; the page goes on.
"""

import argparse
import contextlib
import errno
import fcntl
import http.client
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from kalecast import lifetime
from kalecast.cluster.gateway import nginx as gateway
from kalecast.project import PROJECT
from kalecast.protocols.sockets import MOST_FILES, allow_many_connections, bound

PACKAGES = "nginx-light libnginx-mod-http-modsecurity libnginx-mod-stream modsecurity-crs openssl"
PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin"
READY_SECONDS = 30
END_SECONDS = 10


def main() -> int:
    """Run in front of the page until stopped; the exit code says how it went."""
    arguments = _arguments()
    lifetime.on_end(lambda *_: sys.exit(0))
    try:
        nginx = _nginx()
        with _alone(arguments.folder):
            return _serve(nginx, _gateway(arguments), arguments)
    except (gateway.GatewayError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _serve(nginx: str, here: gateway.Gateway, arguments: argparse.Namespace) -> int:
    _check_ports(here)
    configuration = gateway.write(here, arguments.folder)
    _open_to_workers(arguments.folder)
    with (
        _running(nginx, configuration.with_name("signatures-nginx.conf")) as signatures,
        _running(nginx, configuration) as process,
    ):
        _await(here, process, signatures)
        _print_addresses(here, arguments)
        return _first_to_end(process, signatures)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep the folder for this gateway: another would take its sockets away.

    Raises:
        GatewayError: one uses it already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "in-use").open("w") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise gateway.GatewayError(
                f"Another gateway uses {folder}. End it, or choose another folder with --folder."
            ) from None
        yield


def _nginx() -> str:
    nginx = shutil.which("nginx", path=PATH)
    modules = [f"{gateway.MODULES}/ngx_{name}_module.so" for name in ("http_modsecurity", "stream")]
    if nginx is None or not all(Path(part).is_file() for part in (*modules, gateway.CRS_SETUP)):
        raise gateway.GatewayError(
            "Expected nginx with ModSecurity, streams and the Core Rule Set, and not all of it is "
            f"here. On Debian or Ubuntu: apt-get install --no-install-recommends {PACKAGES}"
        )
    return nginx


def _gateway(arguments: argparse.Namespace) -> gateway.Gateway:
    folder: Path = arguments.folder
    certificate, key = arguments.certificate, arguments.key
    if bool(certificate) != bool(key):
        raise gateway.GatewayError("Expected a certificate together with its key.")
    if not certificate:
        certificate, key = _own_certificate(folder, arguments.name)
    return gateway.Gateway(
        folder=str(folder),
        pages=tuple(arguments.page),
        names=tuple(arguments.name),
        host=arguments.host,
        port=arguments.port,
        plain_port=arguments.plain_port,
        public_port=arguments.public_port,
        operators=f"127.0.0.1:{arguments.operators_port}",
        signatures_port=arguments.signatures_port,
        list_port=arguments.list_port,
        certificate=str(certificate),
        certificate_key=str(key),
        trusted=tuple(arguments.trusted),
        keys=arguments.keys,
        sign_in=arguments.sign_in,
        paranoia=arguments.paranoia,
        executing_paranoia=max(arguments.executing_paranoia, arguments.paranoia),
        engine="DetectionOnly" if arguments.detect else "On",
        limits=_limits(arguments.limit),
        workers=str(len(os.sched_getaffinity(0))),
        open_files=allow_many_connections(MOST_FILES),
        error_log=str(folder / "error.log"),
        error_level=arguments.log_level,
        access_log=str(folder / "access.log"),
    )


def _limits(changes: list[str]) -> gateway.Limits:
    known = {field.name for field in fields(gateway.Limits)}
    limits = gateway.Limits()
    for change in changes:
        name, _, number = change.partition("=")
        if name not in known or not number.isdigit() or int(number) < 1:
            raise gateway.GatewayError(
                f"Expected a limit such as forecast_rate=50, one of {', '.join(sorted(known))}, "
                f"received: {change!r}"
            )
        limits = replace(limits, **{name: int(number)})
    return limits


def _own_certificate(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """A certificate that this machine signs for itself, kept as long as its names stay."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "certificate.key"
    wanted = ",".join(f"DNS:{name}" for name in names)
    made_for = folder / "certificate.names"
    fresh = certificate.is_file() and made_for.is_file() and made_for.read_text() == wanted
    if fresh and _is_valid(certificate):
        return certificate, key
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={names[0]}"]
    command += ["-addext", f"subjectAltName={wanted}", "-keyout", str(key), "-out"]
    # No other user may read the key, from its first byte on.
    before = os.umask(0o077)
    try:
        made = subprocess.run(
            [*command, str(certificate)], capture_output=True, text=True, check=False
        )
    finally:
        os.umask(before)
    if made.returncode != 0:
        raise gateway.GatewayError(f"openssl made no certificate: {made.stderr.strip()}")
    certificate.chmod(0o644)
    made_for.write_text(wanted)
    return certificate, key


def _is_valid(certificate: Path) -> bool:
    a_day = ["openssl", "x509", "-checkend", "86400", "-noout", "-in", str(certificate)]
    return subprocess.run(a_day, capture_output=True, check=False).returncode == 0


def _open_to_workers(folder: Path) -> None:
    """Started by root, nginx's workers are another user, and keep parts of uploads here.

    Raises:
        GatewayError: they may not enter it.
    """
    if os.geteuid() != 0:
        return
    for above in (folder, *folder.parents):
        if not above.stat().st_mode & stat.S_IXOTH:
            raise gateway.GatewayError(
                f"Expected a folder that every user may enter, as nginx's workers are not root: "
                f"{above} may not be. Choose another with --folder."
            )
    (folder / "files").chmod(0o1777)


def _check_ports(here: gateway.Gateway) -> None:
    operators = int(here.operators.rpartition(":")[2])
    public = {(here.host, port) for port in (here.port, here.plain_port) if port}
    inner = {("127.0.0.1", port) for port in (operators, here.signatures_port, here.list_port)}
    taken = []
    for host, port in sorted(public | inner):
        try:
            bound(host, port).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise gateway.GatewayError(
                    f"Cannot listen at {host}:{port}: {error.strerror}. Ports below 1024 are "
                    "root's, and the address has to be one of this machine."
                ) from error
            taken.append(str(port))
    if taken:
        raise gateway.GatewayError(
            f"Expected free ports, in use already: {', '.join(taken)}. Stop what holds them, or "
            "choose others: make protect GATEWAY_PORT=9443"
        )


@contextlib.contextmanager
def _running(nginx: str, configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder = configuration.parent
    command = [nginx, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(configuration)]
    # Ctrl-C is for this process, which then ends nginx in order.
    process = lifetime.start(command)
    try:
        yield process
    finally:
        lifetime.end(process, END_SECONDS)


def _first_to_end(*processes: subprocess.Popen[bytes]) -> int:
    """The exit code of the one that ends first: neither is of use without the other."""
    while True:
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(0.5)


def _await(here: gateway.Gateway, *processes: subprocess.Popen[bytes]) -> None:
    host, _, port = here.operators.rpartition(":")
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in processes):
            break
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/signatures")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise gateway.GatewayError(f"nginx does not answer. What it says is in {here.error_log}.")


def _print_addresses(here: gateway.Gateway, arguments: argparse.Namespace) -> None:
    address = f"https://{here.names[0]}:{here.port}"
    print(f"\n  The protected page is at {address}, in front of {', '.join(here.pages)}")
    if not arguments.certificate:
        print(
            "  Its certificate is this machine's own: a browser warns once, and\n"
            f"  curl takes it with --cacert {_shown(Path(here.certificate))}"
        )
    print(f"  Requests: {_shown(Path(here.access_log))}   refusals: {_shown(Path(here.error_log))}")
    print(f"  For probes and operators: http://{here.operators}/ready and /status")
    print("  Ctrl-C ends it.\n", flush=True)


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--page", action="append", metavar="HOST:PORT", help="a replica of the page")
    add("--name", action="append", help="a name by which customers call it (localhost)")
    add("--host", default="127.0.0.1", help="IPv4 address to listen at; 0.0.0.0 lets others in")
    add("--port", type=int, default=8443)
    add("--plain-port", type=int, default=0, help="sends unencrypted requests on to --port")
    add("--public-port", type=int, default=0, help="what customers type, where it is not --port")
    add("--operators-port", type=int, default=8444)
    add("--signatures-port", type=int, default=8445, help="of the third tier")
    add("--list-port", type=int, default=8446, help="of the second tier")
    add("--certificate", type=Path, help="PEM file, with those it needs")
    add("--key", type=Path, help="PEM file of its key")
    add("--trusted", action="append", default=[], help="network of a proxy before the gateway")
    add("--keys", action="store_true", help="the page requires keys: each has limits of its own")
    add("--sign-in", default="", metavar="HOST:PORT", help="oauth2-proxy, where people sign in")
    add("--paranoia", type=int, default=1, help="level up to which rules block")
    add("--executing-paranoia", type=int, default=1, help="level up to which rules are logged")
    add("--detect", action="store_true", help="signatures log what they would refuse, no more")
    add("--limit", action="append", default=[], metavar="NAME=NUMBER", help="such as key_rate=50")
    add("--log-level", default="error", help="of nginx's error log")
    add("--folder", type=Path, default=PROJECT / "build" / "gateway", help="for its files")
    arguments = parser.parse_args()
    arguments.page = arguments.page or ["127.0.0.1:7860"]
    arguments.name = arguments.name or ["localhost"]
    arguments.folder = arguments.folder.resolve()
    return arguments


if __name__ == "__main__":
    sys.exit(main())
