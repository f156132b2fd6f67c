"""Keys: make, list and revoke them in a customers file.

    kalecast keys new acme --file customers.json --days 365 --per-minute 600
    kalecast keys list --file customers.json
    kalecast keys revoke 5f0c1e9a7b --file customers.json

`new` prints the key, once: the file has its hash alone. Needs the standard library alone.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from kalecast.page import customers
from kalecast.page.customers import KEY_PREFIX, Customer, CustomersError, Key
from kalecast.page.quotas import MOST_PER_MINUTE, Quota

PER_MINUTE = 600
SECRET_BYTES = 32
LONGEST_DAYS = 3650


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit code says how it went."""
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except (CustomersError, OSError, UnicodeDecodeError) as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 1
    return 0


def new(given: argparse.Namespace) -> None:
    """Make a key, and its customer where there is none yet."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    today = datetime.now(UTC).date()
    key = Key(
        id=secrets.token_hex(5),
        sha256=hashlib.sha256(secret.encode("ascii")).hexdigest(),
        since=today,
        until=today + timedelta(days=given.days) if given.days else None,
    )
    with _changing(given.file) as listed:
        at, customer = _customer(listed, given.name)
        listed[at:] = [
            replace(customer, quota=_quota(customer, given), keys=(*customer.keys, key)),
            *listed[at + 1 :],
        ]
    until = f"holds until {key.until}" if key.until else "never ends"
    print(f"The key {key.id} of {given.name} {until}. It is shown this once:", file=sys.stderr)
    print(f"{KEY_PREFIX}_{key.id}_{secret}")


def show(given: argparse.Namespace) -> None:
    """List customers and their keys."""
    today = datetime.now(UTC).date()
    rows = [("customer", "a minute", "at once", "key", "since", "until")]
    for customer in customers.read(given.file.read_text(encoding="utf-8")):
        quota = (str(customer.quota.per_minute), str(customer.quota.burst))
        rows.extend(
            (customer.name, *quota, key.id, _day(key.since), _until(key, today))
            for key in customer.keys
        )
        if not customer.keys:
            rows.append((customer.name, *quota, "none", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def revoke(given: argparse.Namespace) -> None:
    """Take a key away."""
    with _changing(given.file) as listed:
        for at, customer in enumerate(listed):
            left = tuple(key for key in customer.keys if key.id != given.key)
            if left != customer.keys:
                listed[at] = replace(customer, keys=left)
                print(f"The key {given.key} of {customer.name} is revoked.", file=sys.stderr)
                return
        raise CustomersError("Expected the id of a key that is there; `list` shows them.")


def _customer(listed: list[Customer], name: str) -> tuple[int, Customer]:
    """A customer and its place, which for a new one is behind all others."""
    for at, customer in enumerate(listed):
        if customer.name == name:
            return at, customer
    return len(listed), Customer(name, Quota(PER_MINUTE, PER_MINUTE), ())


def _quota(customer: Customer, given: argparse.Namespace) -> Quota:
    per_minute = given.per_minute or customer.quota.per_minute
    # At once as many as a minute brings, unless something else was said, now or before.
    burst = customer.quota.burst if given.per_minute is None else per_minute
    return Quota(per_minute, given.burst or burst)


def _day(day: date | None) -> str:
    return day.isoformat() if day else "?"


def _until(key: Key, today: date) -> str:
    if key.until is None:
        return "never"
    return f"{key.until}{' (over)' if key.until < today else ''}"


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Customer]]:
    """The customers, to be changed; written when the block ends, if it ends well."""
    path = path.resolve()  # a link stays one
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # two changes at a time would lose one
        listed: list[Customer] = []
        with contextlib.suppress(FileNotFoundError):
            listed.extend(customers.read(path.read_text(encoding="utf-8")))
        yield listed
        text = customers.write(tuple(listed))
        customers.read(text)  # what the page would refuse is not written
        _write(path, text)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make, list and revoke customers' keys.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    making = commands.add_parser("new", help="make a key, and its customer where there is none")
    making.add_argument("name", help="the customer's: pseudonymous, say a number of a contract")
    making.add_argument("--days", type=_count(LONGEST_DAYS), help="that it holds; for ever without")
    count = _count(MOST_PER_MINUTE)
    making.add_argument(
        "--per-minute", type=count, help=f"forecasts; {PER_MINUTE} for a new customer"
    )
    making.add_argument("--burst", type=count, help="forecasts at once; a minute's for a new one")
    making.set_defaults(run=new)
    listing = commands.add_parser("list", help="show customers, their keys and dates")
    listing.set_defaults(run=show)
    revoking = commands.add_parser("revoke", help="take a key away")
    revoking.add_argument("key", metavar="KEYID", help="between the two underscores of a key")
    revoking.set_defaults(run=revoke)
    for command in (making, listing, revoking):
        command.add_argument("--file", type=Path, required=True, help="the customers file")
    return parser


def _count(most: int) -> type[int]:
    def count(text: str) -> int:
        if not (text.isdecimal() and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"expected 1 to {most}, received {text!r}")
        return int(text)

    return count  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
