"""Files that customers upload, and the forms in which browsers and programs send them."""

import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from urllib.parse import quote

import pandas as pd

from benchmarks.protection.benign_numbers import table

TEXTS = Path(__file__).parent / "benign"

ENCODINGS = ("utf-8", "utf-8-sig", "cp1252", "utf-16", "latin-1", "utf-8", "utf-16-le", "shift_jis")
ENDINGS = (".csv", ".CSV", ".txt", ".tsv", "", ".csv.csv", ".parquet", ".xlsx", ".json", ".dat")

START = datetime(2026, 1, 5)


@cache
def lines(name: str) -> list[str]:
    """The texts of one kind: `series`, `sentences`, `files` or `mistakes`."""
    return (TEXTS / f"{name}.txt").read_text().splitlines()


def files(dice: Random, largest: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents, up to as many megabytes; some are no tables, which the page tells."""
    names = lines("series")
    for at in range(330):
        stem = lines("files")[at % len(lines("files"))]
        hours = dice.choice((48, 60, 200, 336))
        timestamps = [START + timedelta(hours=at + hour) for hour in range(hours)]
        values = [round(dice.uniform(-5, 900), 1) for _ in range(hours)]
        text = table(at, dice, names[at % len(names)], timestamps, values)
        content = text.encode(ENCODINGS[at % len(ENCODINGS)], errors="replace")
        yield f"{stem}{ENDINGS[at % len(ENDINGS)] if at % 2 else '.csv'}", content
    for at, sentence in enumerate(lines("sentences")):
        yield f"letter {at}.csv", f"{sentence}\n{sentence}\n".encode()
    for at in range(20):
        yield f"{lines('files')[at]}.parquet", _parquet(dice, names[at : at + 3])
    for size in {1, largest // 2 or 1, largest}:
        yield f"large {size} MB.csv", _large(size)
    # No tables: what a wrong click chooses.
    yield "picture.png", b"\x89PNG\r\n\x1a\n" + dice.randbytes(50_000)
    yield "book.xlsx", b"PK\x03\x04" + dice.randbytes(30_000)
    yield "notes.pdf", b"%PDF-1.7\n" + dice.randbytes(40_000)
    yield "page.html", b"<!doctype html><title>Sites</title><table><tr><td>1</td></tr></table>"
    yield "empty.csv", b""


def form(dice: Random, file: str, content: bytes, at: int) -> tuple[bytes, str]:
    """A form with one file as different clients write it; its bytes and its type."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    unique = "".join(dice.choices(letters, k=16))
    boundary = (
        *(f"----WebKitFormBoundary{unique}", f"----geckoformboundary{unique.lower()}"),
        *(f"---------------------------{dice.getrandbits(96)}", f"{dice.getrandbits(128):032x}"),
    )[at % 4]
    name = file.replace("\\", "_")
    disposition = f'filename="{name.replace(chr(34), "%22")}"'
    if at % 4 == 3 and not name.isascii():
        disposition = f"filename*=utf-8''{quote(name)}"  # as Python's clients write it
    kind = ("text/csv", "application/vnd.ms-excel", "application/octet-stream")[at % 3]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; {disposition}\r\n'
    whole = f"{head}Content-Type: {kind}\r\n\r\n".encode() + content
    return whole + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _parquet(dice: Random, names: list[str]) -> bytes:
    rows = [
        (name, START + timedelta(hours=hour), dice.uniform(0, 500))
        for name in names
        for hour in range(100)
    ]
    file = io.BytesIO()
    pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).to_parquet(file)
    return file.getvalue()


def _large(megabytes: int) -> bytes:
    rows = ["unique_id,ds,y"]
    size = number = 0
    while size < megabytes * 2**20:
        number, hour = divmod(len(rows) - 1, 1000)
        rows.append(f"site {number},{START + timedelta(hours=hour):%Y-%m-%d %H:%M},{hour % 24}.5")
        size += len(rows[-1]) + 1
    return "\n".join(rows).encode()
