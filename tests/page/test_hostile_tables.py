"""Files made to do harm: refused in words before they take memory or time."""

import base64
import csv
import gzip
import io
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import page_process
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from page_process import Page, file_of, show, timestamp, upload

from kalecast.artifact.store import check_name
from kalecast.data.series import SeriesError, load_series, read_series
from kalecast.data.table_files import LONGEST_LINE

ROW = b"2026-01-01 00:00,1\n"


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def repeated(count: int, text: str) -> pa.DictionaryArray:
    """A column in which one text stands for all rows."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([text]))


def hours(count: int) -> pa.Array:
    return pa.array([at * 3_600_000_000_000 for at in range(count)], pa.timestamp("ns"))


@cache
def many_rows() -> bytes:
    """A hundred million rows in a file of less than a megabyte."""
    file, rows = io.BytesIO(), 10_000_000
    table = pa.table({"ds": pa.array([0] * rows, pa.timestamp("ns")), "y": pa.nulls(rows)})
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(table)
    assert len(file.getvalue()) < 2**20
    return file.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a header of a million columns": (lambda: b"a," * 10**6 + b"ds,y\n" + ROW, "line 1 .* longer"),
    "a first row of five million": (lambda: b"ds,y\n" + b"1," * 5 * 10**6, "line 2 .* longer"),
    "a header that goes on": (
        lambda: b'ds,"y\n' + b"1,\n" * 10**5 + b'",y\n' + ROW,
        "a quote of line 1",
    ),
    "a literal quote before one that goes on": (
        lambda: b'a"b,"ds\n' + b"1,\n" * 10**5,
        "a quote of line 1",
    ),
    "an escaped quote that goes on": (lambda: b'ds,"a""\n' + b"1,\n" * 9, "a quote of line 1"),
    "a row that goes on": (lambda: b'ds,y\n2026,"' + b"1,\n" * 10**5, "a quote of line 2"),
    "a NUL byte far down": (lambda: b"ds,y\n" + ROW * 500 + b"2026-01-02\0,1\n", "not text"),
    "blank lines alone": (lambda: b"ds,y\n" + b"\n" * 10**7, "at most 2,000,000 rows"),
    "lines ended by CR alone": (lambda: b"ds,y\r" + b",\r" * 10**7, "at most 2,000,000 rows"),
    "rows without end in Parquet": (many_rows, "at most 2,000,000 rows.*100,000,000"),
    "a long name that all rows share": (
        lambda: parquet(unique_id=repeated(1000, "x" * 10**6), ds=hours(1000), y=[0.0] * 1000),
        "1,000 bytes a text in column 'unique_id'",
    ),
    "a long timestamp that all rows share": (
        lambda: parquet(ds=repeated(1000, "2026" * 10**5), y=[0.0] * 1000),
        "64 bytes a text in column 'ds'",
    ),
    "a list for a number": (lambda: parquet(ds=hours(1), y=[[1.0] * 9]), "a number a row"),
    "a struct for a timestamp": (lambda: parquet(ds=[{"a": 1}], y=[1.0]), "in column 'ds'"),
    "wide fixed binary": (
        lambda: parquet(ds=hours(1), y=pa.array([bytes(999)], pa.binary(999))),
        "in column 'y'",
    ),
    "Parquet's name around nothing": (lambda: b"PAR1" + b"\xff" * 999 + b"PAR1", "damaged"),
    "a Parquet file cut": (lambda: parquet(ds=hours(9), y=[0.0] * 9)[:-20], "damaged"),
    "columns without end, one by one": (
        lambda: b"y," * 8000 + b"ds" + b"\n" * 3000 + b"1",
        "at most 1,000 columns, sales.csv has 8,001",
    ),
    "a cell of colons": (lambda: b"ds,y\n" + b":" * 9000 + b",1", "64 characters in column 'ds'"),
    "a pickle": (lambda: b"\x80\x04cos\nsystem\n(S'true'\ntR.", "Expected"),
    "a zip": (lambda: b"PK\x03\x04" + b"\0" * 99, "not text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_needs_too_much_is_refused_in_words(name: str) -> None:
    made, message = HOSTILE[name]
    with pytest.raises(SeriesError, match=message) as raised:
        read_series(made(), "sales.csv", 2_000_000)
    assert len(str(raised.value)) < 400


LARGE: dict[str, Callable[[], bytes]] = {
    "many columns and blank lines": lambda: b"a," * 900 + b"ds,y" + b"\n" * 1_900_000 + b"1",
    "many columns and short rows": lambda: b"a," * 900 + b"ds,y\n" + b"1\n" * 1_900_000,
    "many columns of nothing": lambda: b"a," * 900 + b"ds,y\n" + (b"," * 901 + b"\n") * 10_000,
    "quotes in every line": lambda: b"ds,y,c\n" + b'2026-01-01,1,"\n' * 500_000,
    "one line": lambda: b"ds,y\n" + b"1" * 10_000_000,
    "distinct names of 1,000 bytes": lambda: parquet(
        unique_id=[f"{at:09}" * 111 for at in range(200_000)],
        ds=pa.array([0] * 200_000, pa.timestamp("ns")),
        y=[0.0] * 200_000,
    ),
    "columns without end in Parquet": lambda: parquet(**{f"c{at}": [0] for at in range(30_000)}),
    "rows alone": lambda: b"ds,y\n" + b"20260101,1\n" * 300_000,
}

# In a process of its own, whose largest size is its own.
READING = """
import resource, sys
from kalecast.data.series import SeriesError, read_series
read_series(b"ds,y\\n2026-01-01,1\\n", "a.csv")
content = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_series(content, "a.csv", 2_000_000)
except SeriesError:
    pass
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.slow
def test_what_a_table_takes_is_a_multiple_of_its_size(tmp_path: Path) -> None:
    for name, made in LARGE.items():
        file = tmp_path / "table"
        file.write_bytes(made())
        run = [page_process.PYTHON, "-c", READING, str(file)]
        taken = int(subprocess.run(run, capture_output=True, check=True, timeout=60).stdout)
        assert taken < 15 * file.stat().st_size + 2**25, name


def test_columns_that_are_not_requested_are_not_read() -> None:
    heavy = pa.array([[0.0] * 100] * 50)
    frame = read_series(parquet(ds=hours(50), y=[1.0] * 50, more=heavy), "sales.parquet")
    assert list(frame.columns) == ["unique_id", "ds", "y"]
    with pytest.raises(SeriesError, match=r"column 'y' in .*received the columns: 'ds', 'more'"):
        read_series(parquet(ds=hours(50), more=heavy), "sales.parquet")


def test_benign_files_are_read_as_before() -> None:
    for line in (b'"2026-01-01 00:00",1', b'2026-01-01 00:00,"1"', b'2026-01-01 00:00,"1,5"'):
        assert len(read_series(b"ds,y\n" + line + b"\n", "a.csv")) == 1
    quoted = b'"unique_id",ds,y\n"12"" pipe, left",2026-01-01 00:00,1\n'
    assert read_series(quoted, "a.csv")["unique_id"][0] == '12" pipe, left'
    inches = b'unique_id,ds,y\n12" pipe,2026-01-01 00:00,1\n'
    assert read_series(inches, "a.csv")["unique_id"][0] == '12" pipe'
    wide = ",".join(f"c{at}" for at in range(500))
    row = "2026-01-01 00:00,1," + ",".join("0" * 500)
    assert len(read_series(f"ds,y,{wide}\n{row}\n".encode(), "a.csv")) == 1 and LONGEST_LINE > 9999
    texts = parquet(
        unique_id=["a ", " a"], ds=["2026-01-01 00:00", "2026-01-01 01:00"], y=["1", "1,5"]
    )
    frame = read_series(texts, "a.parquet")
    assert frame["unique_id"].tolist() == ["a", "a"]
    assert frame["y"].tolist() == [1.0, 1.5]
    with pytest.raises(SeriesError, match="below the header"):
        read_series(parquet(ds=hours(0), y=pa.array([], pa.float64())), "a.parquet")


@pytest.mark.parametrize(
    "data",
    [
        *("http://127.0.0.1:9/x.csv", "https://example.com/x.csv", "ftp://example.com/x.csv"),
        *("file:///etc/passwd", "HTTP://127.0.0.1:9/x", " http://127.0.0.1:9/x", "gs://b/x.csv"),
        *("S3://bucket/x.csv", "data:text/csv,ds", "s3a://bucket/x.csv"),
    ],
)
def test_no_address_is_fetched_but_s3(data: str) -> None:
    with pytest.raises(SeriesError, match="Expected a path or an s3: URI as data"):
        load_series(data)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "..", "a\0b", "=cmd|x"])
def test_no_name_leads_out_of_the_model_store(name: str) -> None:
    with pytest.raises(Exception, match="Expected a model name"):
        check_name(name)


def uploaded(page: Page, name: str, content: bytes) -> list[dict[str, Any]]:
    """What the page shows of an uploaded file."""
    reply = show(page, "Your file", None, upload(page, name, content), None, None, None, 24)
    parts: list[dict[str, Any]] = reply.json()["data"]
    return parts


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("=cmd|' /C calc'!A0", "+1+2", "-2+3", "@SUM(A1)", "=1;=2", "a;=cmd", 'a"b', "plain_1"),
        *("../../etc/passwd", '<img src=x onerror="alert(1)">', "</a><script>alert(1)</script>"),
        *("javascript:alert(1)", "[x](javascript:alert(1))", "{{7*7}}", "a\u202eb", "%n%s"),
    ],
)
def test_a_name_of_a_series_stays_text(page: Page, name: str) -> None:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["unique_id", "ds", "y"])
    writer.writerows([name, timestamp(hour), hour % 24] for hour in range(200))
    _, reading, figure, details, *_ = uploaded(page, "names.csv", table.getvalue().encode())
    for part in (reading, details):
        assert "<img" not in part["value"] and "<script" not in part["value"]
    assert figure["visible"]
    (saved_as,) = re.findall(r'download="([^"]*)"', details["value"])
    assert re.fullmatch(r"[\w-][\w.-]*-forecast\.csv", saved_as)
    (content,) = re.findall(r"base64,([^\"]+)", details["value"])
    text = base64.b64decode(content).decode()
    assert {row["unique_id"].removeprefix("'") for row in csv.DictReader(io.StringIO(text))} == {
        name
    }
    for cell in [row[0] for row in csv.reader(io.StringIO(text))]:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    # Nor where a spreadsheet splits at semicolons.
    for cell in (cell for row in csv.reader(io.StringIO(text), delimiter=";") for cell in row):
        assert not cell.startswith(("=", "+", "@", "\t", "\r"))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["../../etc/passwd", "..\\..\\x.csv", "<b>x</b>.csv", "=x.csv"])
def test_a_name_of_a_file_stays_text(page: Page, file: str) -> None:
    before = set(page.folder.rglob("*"))
    rows = "".join(f"{timestamp(hour)},{hour}\n" for hour in range(200))
    _, reading, _, details, *_ = uploaded(page, file, f"ds,y\n{rows}".encode())
    assert "<b>x" not in reading["value"] + details["value"]
    banner, *_ = uploaded(page, file, b"ds,y\n")
    assert "Expected rows of data" in banner["value"] and "<b>x" not in banner["value"]
    assert set(page.folder.rglob("*")) == before


@pytest.mark.slow
def test_a_file_of_too_many_series_is_reported_as_such(page: Page) -> None:
    rows = b"".join(b"%d,20260101,1\n" % at for at in range(150_000))
    banner, *_ = uploaded(page, "many.csv", b"unique_id,ds,y\n" + rows)
    assert "many.csv holds too much for this page: 150,000 series" in banner["value"]


@pytest.mark.slow
def test_of_a_token_that_was_not_signed_here_nothing_is_unpacked(page: Page) -> None:
    made_up = b'{"series":[],"x":[' + b",".join([b'{"":0}'] * 2_000_000) + b"]}"
    letters = base64.urlsafe_b64encode(bytes(32) + gzip.compress(made_up)).decode().rstrip("=")
    file = file_of(f"kalecast-table-1.{letters}")
    reply = show(page, "Your file", None, file, "z", None, None, 24)
    assert "Please choose your file again" in reply.text


@pytest.mark.slow
@pytest.mark.parametrize("path", ["call/forecast", "run/forecast", "queue/join", "info"])
def test_gradios_client_is_offered_only_where_it_is_switched_on(page: Page, path: str) -> None:
    reply = requests.post(f"{page.url}/gradio_api/{path}", json={"data": ["1"]}, timeout=30)
    assert reply.status_code == 404


@pytest.mark.slow
def test_pasted_lines_without_end_are_refused(page: Page) -> None:
    text = "ds,y" + "\n" * 2_500_000 + "2026-01-01 00:00,1"
    reply = show(page, "Your numbers", None, None, None, text, None, 24)
    assert "at most 1,000,000 characters" in reply.text
    text = "ds,y" + "\n" * 900_000 + "2026-01-01 00:00,1"
    reply = show(page, "Your numbers", None, None, None, text, None, 24)
    assert "too short" in reply.text


@pytest.mark.slow
def test_the_page_bounds_the_rows_of_a_file(page: Page) -> None:
    banner, *_ = uploaded(page, "bomb.parquet", many_rows())
    assert "Expected at most 1,000,000 rows, bomb.parquet has 100,000,000" in banner["value"]
