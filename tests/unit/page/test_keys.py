"""Keys: the command that makes them, the file that holds them, and whose a key is."""

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kalecast.page import customers
from kalecast.page.customers import CustomersError, Keyring
from kalecast.page.outcomes import TurnedAway

COMMAND = ("-m", "kalecast.page.keys")
HASH = "0" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "customers.json"


def run(*arguments: str, file: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *COMMAND, *arguments, "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def new(*arguments: str, file: Path) -> str:
    return run("new", *arguments, file=file).stdout.strip()


def whose(key: str, file: Path) -> str:
    return Keyring(customers.read(file.read_text())).customer(f"Bearer {key}".encode()).name


def test_a_new_key_is_its_customers(file: Path) -> None:
    key = new("acme", file=file)
    assert whose(key, file) == "acme"
    secret = key.split("_", 2)[2]
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32


def test_the_file_has_no_key_and_is_for_its_owner_alone(file: Path) -> None:
    old_umask = os.umask(0)
    try:
        secret = new("acme", file=file).split("_", 2)[2]
    finally:
        os.umask(old_umask)
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_several_keys_hold_until_they_are_revoked(file: Path) -> None:
    first, second = new("acme", file=file), new("acme", file=file)
    other = new("globex", file=file)
    assert [whose(key, file) for key in (first, second, other)] == ["acme", "acme", "globex"]
    run("revoke", first.split("_")[1], file=file)
    with pytest.raises(TurnedAway):
        whose(first, file)
    assert whose(second, file) == "acme"


def test_quotas(file: Path) -> None:
    new("acme", file=file)
    new("globex", "--per-minute", "60", "--burst", "5", file=file)
    new("globex", file=file)
    new("initech", "--per-minute", "90", file=file)
    new("initech", "--per-minute", "120", file=file)
    quotas = {c.name: (c.quota.per_minute, c.quota.burst) for c in read(file)}
    assert quotas == {"acme": (600, 600), "globex": (60, 5), "initech": (120, 120)}


def test_a_key_with_an_end(file: Path) -> None:
    new("acme", "--days", "30", file=file)
    ((key,),) = (customer.keys for customer in read(file))
    assert key.since is not None
    assert key.until == key.since + timedelta(days=30)


def test_list(file: Path) -> None:
    key = new("acme", "--days", "30", file=file)
    run("revoke", new("globex", file=file).split("_")[1], file=file)
    content = json.loads(file.read_text())
    content["customers"][0]["keys"].append({"id": "old", "sha256": HASH, "until": "2020-01-31"})
    file.write_text(json.dumps(content))
    listed = [line.split() for line in run("list", file=file).stdout.splitlines()]
    day = datetime.now(UTC).date()
    assert ["acme", "600", "600", key.split("_")[1]] == listed[1][:4]
    assert date.fromisoformat(listed[1][5]) >= day + timedelta(days=29)
    assert listed[2][3:] == ["old", "?", "2020-01-31", "(over)"]
    assert listed[3] == ["globex", "600", "600", "none"]
    assert HASH not in str(listed)


def test_a_link_stays_one(file: Path) -> None:
    link = file.parent / "link.json"
    link.symlink_to(file.name)
    new("acme", file=link)
    assert link.is_symlink()
    assert [customer.name for customer in read(file)] == ["acme"]


def test_changes_at_the_same_time_are_all_kept(file: Path) -> None:
    names = [f"customer-{at}" for at in range(8)]
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda name: new(name, file=file), names))
    assert [whose(key, file) for key in keys] == names


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("revoke", "nobody"), 1, "Expected the id of a key"),
        (("new", "with space"), 1, "letters, digits"),
        (("new", "acme", "--days", "0"), 2, "0 is not in the range 1<=x<=3650"),
        (("new", "acme", "--per-minute", "1e3"), 2, "'1e3' is not a valid integer"),
    ],
)
def test_wrong_arguments(file: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    assert message in run(*arguments, file=file, code=code).stderr
    assert not file.exists()


def test_a_broken_file_is_left_as_it_is(file: Path) -> None:
    file.write_text("{")
    assert "Expected JSON" in run("new", "acme", file=file, code=1).stderr
    assert file.read_text() == "{"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "customers[0].name to be a valid string, received none"),
        ({"name": "Müller & Söhne"}, "customers[0].name as 1 to 63 letters"),
        ({"name": "a\n"}, "customers[0].name as 1 to 63 letters"),
        ({"per_minute": 0}, "customers[0].per_minute to be greater than or equal to 1, received a"),
        ({"per_minute": 1.5}, "to be a valid integer, received a number"),
        ({"burst": True}, "to be a valid integer, received true or false"),
        ({"keys": {}}, "customers[0].keys to be a valid"),
        ({"quota": 5}, "no other fields in customers[0], received also 'quota'"),
        ({"keys": [{"id": "a", "sha256": HASH, "untill": "2020-01-31"}]}, "also 'untill'"),
        ({"keys": [{"id": "a", "sha256": HASH, "until": "31.1.2027"}]}, "keys[0].until to be a"),
        ({"keys": [{"id": "a", "sha256": HASH, "until": 1}]}, "keys[0].until to be a"),
        ({"keys": [{"id": "a_b", "sha256": HASH}]}, "keys[0].id as 1 to 32 digits"),
        ({"keys": [{"id": "a"}]}, "Expected customers[0].keys[0].sha256, received none"),
        ({"keys": [{"id": "a", "sha256": HASH}] * 2}, "each key id once, received 'a' twice"),
        ({"keys": [{"id": "a", "sha256": "SECRETSECRET"}]}, "64 hexadecimal digits"),
    ],
)
def test_a_wrong_file_is_refused_in_words(change: dict[str, Any], message: str) -> None:
    customer = {"name": "acme", "per_minute": 60, "keys": [], **change}
    with pytest.raises(CustomersError) as refused:
        customers.read(json.dumps({"customers": [customer]}))
    assert message in str(refused.value)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"customers": {}}', "[" * 100_000])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(CustomersError, match="Expected"):
        customers.read(text)


def test_a_key_ends_with_its_last_day() -> None:
    today = datetime.now(UTC).date()
    for until, holds in ((today + timedelta(days=1), True), (today - timedelta(days=1), False)):
        key = {"id": "a", "sha256": _sha256("s" * 43), "until": until.isoformat()}
        text = json.dumps({"customers": [{"name": "acme", "per_minute": 1, "keys": [key]}]})
        keyring = Keyring(customers.read(text))
        carried = b"Bearer kalecast_a_" + b"s" * 43
        if holds:
            assert keyring.customer(carried).name == "acme"
        else:
            with pytest.raises(TurnedAway, match="has ended"):
                keyring.customer(carried)


def read(file: Path) -> tuple[customers.Customer, ...]:
    return customers.read(file.read_text())


def _sha256(secret: str) -> str:
    done = subprocess.run(["sha256sum"], input=secret, capture_output=True, text=True, check=True)
    return done.stdout.split()[0]
