"""Keys: make, list and revoke them in a customers file.

    kalecast keys new acme --file customers.json --days 365 --per-minute 600
    kalecast keys list --file customers.json
    kalecast keys revoke 5f0c1e9a7b --file customers.json

`new` prints the key, once: the file has its hash alone.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
from pydantic import ValidationError

from kalecast.page import customers
from kalecast.page.customers import KEY_PREFIX, MOST_PER_MINUTE, Customer, CustomersError, Key

PER_MINUTE = 600
SECRET_BYTES = 32

COUNT = click.IntRange(1, MOST_PER_MINUTE)
FILE = click.option(
    "--file", type=click.Path(path_type=Path), required=True, help="The customers file."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Make, list and revoke customers' keys."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says.

    Raises:
        SystemExit: it is done, or the command line is wrong.

    Returns:
        The exit code where it could not be done.
    """
    try:
        commands(arguments, prog_name="kalecast keys")
    except ValidationError as error:
        print(customers.sentence(error), file=sys.stderr)
    except (CustomersError, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
    return 1


@commands.command()
@click.argument("name")
@FILE
@click.option("--days", type=click.IntRange(1, 3650), help="That it holds; for ever without.")
@click.option("--per-minute", type=COUNT, help=f"Forecasts; {PER_MINUTE} for a new customer.")
@click.option("--burst", type=COUNT, help="Forecasts at once; a minute's for a new customer.")
def new(name: str, file: Path, days: int | None, per_minute: int | None, burst: int | None) -> None:
    """Make a key, and its customer where there is none.

    NAME is the customer's: pseudonymous, say a number of a contract.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    today = datetime.now(UTC).date()
    key = Key(
        id=secrets.token_hex(5),
        sha256=hashlib.sha256(secret.encode("ascii")).hexdigest(),
        since=today,
        until=today + timedelta(days=days) if days else None,
    )
    with _changing(file) as listed:
        # A new one is behind all others.
        customer = listed.get(name) or Customer(name=name, per_minute=PER_MINUTE, keys=())
        listed[name] = Customer(
            name=name,
            per_minute=per_minute or customer.per_minute,
            # At once as many as a minute brings, unless something else was said, now or before.
            burst=burst or (None if per_minute else customer.burst),
            keys=(*customer.keys, key),
        )
    until = f"holds until {key.until}" if key.until else "never ends"
    print(f"The key {key.id} of {name} {until}. It is shown this once:", file=sys.stderr)
    print(f"{KEY_PREFIX}_{key.id}_{secret}")


@commands.command("list")
@FILE
def show(file: Path) -> None:
    """Show customers, their keys and dates."""
    today = datetime.now(UTC).date()
    rows = [("customer", "a minute", "at once", "key", "since", "until")]
    for customer in _read(file):
        quota = (str(customer.quota.per_minute), str(customer.quota.burst))
        rows.extend(
            (customer.name, *quota, key.id, str(key.since or "?"), _until(key, today))
            for key in customer.keys
        )
        if not customer.keys:
            rows.append((customer.name, *quota, "none", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


@commands.command()
@click.argument("key", metavar="KEYID")
@FILE
def revoke(key: str, file: Path) -> None:
    """Take a key away.

    KEYID stands between the two underscores of a key.
    """
    with _changing(file) as listed:
        for name, customer in listed.items():
            left = tuple(one for one in customer.keys if one.id != key)
            if left != customer.keys:
                listed[name] = customer.model_copy(update={"keys": left})
                print(f"The key {key} of {name} is revoked.", file=sys.stderr)
                return
        raise CustomersError("Expected the id of a key that is there; `list` shows them.")


def _read(file: Path) -> tuple[Customer, ...]:
    try:
        return customers.read(file.read_text(encoding="utf-8"))
    except CustomersError as error:
        raise CustomersError(f"{file}: {error}") from None


def _until(key: Key, today: date) -> str:
    if key.until is None:
        return "never"
    return f"{key.until}{' (over)' if key.until < today else ''}"


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[dict[str, Customer]]:
    """The customers by name, to be changed; written when the block ends, if it ends well."""
    path = path.resolve()  # a link stays one
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # two changes at a time would lose one
        listed: dict[str, Customer] = {}
        with contextlib.suppress(FileNotFoundError):
            listed = {customer.name: customer for customer in _read(path)}
        yield listed
        _write(path, customers.write(listed.values()))
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
