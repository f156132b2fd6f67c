"""The same table through every entrance: read alike, said alike, refused alike."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_process import PYTHON

from kalecast.data.series import SeriesError, notes, read_series, tidy

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 28, 21)
"""The hours from here on reach days that are no months."""

Table = Mapping[str, Sequence[str]]

quick = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def hours(count: int, form: str = "%Y-%m-%d %H:%M", start: datetime = START) -> list[str]:
    return [(start + timedelta(hours=at)).strftime(form) for at in range(count)]


def written(table: Table, separator: str = ",", encoding: str = "utf-8") -> bytes:
    """As a CSV, quoted where it must be."""
    file = io.StringIO()
    rows = csv.writer(file, delimiter=separator, lineterminator="\r\n")
    rows.writerow(table)
    rows.writerows(zip(*table.values(), strict=True))
    return file.getvalue().encode(encoding)


def parquet(table: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(cells) for name, cells in table.items()}), file)
    return file.getvalue()


def frame_parquet(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


ENTRANCES: dict[str, Callable[[Table], bytes | pd.DataFrame]] = {
    "CSV": written,
    "tabs": lambda table: written(table, "\t"),
    "UTF-16": lambda table: written(table, "\t", "utf-16"),
    "blank lines first": lambda table: b"\r\n;;\r\n" + written(table, ";"),
    "Parquet": parquet,
    "frame": lambda table: pd.DataFrame(dict(table)),
    "frame with an index": lambda table: pd.DataFrame(dict(table)).set_index("ds"),
    "Parquet with an index": lambda table: frame_parquet(pd.DataFrame(dict(table)).set_index("ds")),
}

# What customers send is read on the page, in its own environment.
ON_THE_PAGE = """
import json, sys
from kalecast.page import tables
from kalecast.page.history import parse_history
from kalecast.data.series import SeriesError
for line in sys.stdin:
    entrance, text = json.loads(line)
    try:
        if entrance == "upload":
            frame = tables.read_table(text.encode(), "sales.csv")
            found = frame["y"], frame.attrs["notes"], frame["ds"][0], frame.attrs["utc_offsets"]
        else:
            history = tables.pasted(text, "", "h") if entrance == "paste" else parse_history(text)
            found = history.values, history.notes, history.start, history.utc_offset
        answer = [[None if value != value else value for value in found[0]], *map(str, found[1:])]
    except SeriesError as error:
        answer = str(error)
    print(json.dumps(answer))
"""


def on_the_page(texts_sent: list[tuple[str, str]]) -> list[Any]:
    """Values, notes, start and offset of each text that is sent; a sentence where refused."""
    run = subprocess.run(
        [PYTHON, "-c", ON_THE_PAGE],
        input="".join(json.dumps(one) + "\n" for one in texts_sent),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


READ: dict[str, tuple[Table, list[float], str]] = {
    "decimal commas": (
        {"ds": hours(4), "y": ["1,234", "999", "310,5", "-0,25"]},
        [1.234, 999, 310.5, -0.25],
        r"Commas in numbers are decimal, as in '310,5' in row 4 of sales\.csv",
    ),
    "three decimals": (
        {"ds": hours(3), "y": ["1.234", "2.345", "0.125"]},
        [1.234, 2.345, 0.125],
        "",
    ),
    "days first": (
        {"ds": hours(4, "%d.%m.%Y %H:%M"), "y": list("1234")},
        [1, 2, 3, 4],
        r"28\.01\.2026 21:00 in row 2 of sales\.csv shows that dates are day first",
    ),
    "months first": (
        {"ds": hours(4, "%m/%d/%Y %H:%M:%S"), "y": list("1234")},
        [1, 2, 3, 4],
        "shows that dates are month first",
    ),
    "missing values": (
        {"ds": hours(4), "y": ["", "n/a", "", "4"]},
        [None, None, None, 4],  # type: ignore[list-item]
        "2 empty cells and 1 of 'n/a' in y are taken as missing",
    ),
    "other columns": (
        {"Temperature": list("5678"), "ds": hours(4), "y": list("1234"), "price": list("0000")},
        [1, 2, 3, 4],
        r"Used: .*ds.*\. Not used: Temperature, price\.",
    ),
    "a spreadsheet's hours": (
        {
            "ds": ["2026-01-28 21:00:00", "2026-01-28 21:59:59.999", "2026-01-28T23:00:00.5"],
            "y": list("123"),
        },
        [1, 2, 3],
        r"2 timestamps were rounded to the full hour \(by at most 0\.5 s\)",
    ),
    "offsets": (
        {"ds": hours(3, "%Y-%m-%dT%H:%M+02"), "y": list("123")},
        [1, 2, 3],
        "Timestamps with UTC offsets were converted to UTC",
    ),
}

REFUSED: dict[str, tuple[Table, str]] = {
    "thousands with commas": (
        {"ds": hours(3), "y": ["999", "1,000", "1,010"]},
        r"'1,000' in row 3 of .*Three digits follow every comma",
    ),
    "thousands with points": (
        {"ds": hours(3), "y": ["999", "1.000", "1.010"]},
        r"'1\.000' in row 3 of .*Three digits follow every point",
    ),
    "a zero beside thousands": ({"ds": hours(2), "y": ["0", "1.000"]}, r"'1\.000' in row 3"),
    "millions": ({"ds": hours(2), "y": ["1,234,567", "2,345,678"]}, r"'1,234,567' in row 2"),
    "two decimal separators": (
        {"ds": hours(2), "y": ["310,5", "310.5"]},
        r"'310\.5' in row 3 of .*'310,5' in row 2",
    ),
    "days or months": (
        {"ds": hours(3, "%d/%m/%Y %H:%M", datetime(2020, 2, 1)), "y": list("123")},
        r"day and month are unambiguous .*'01/02/2020 00:00' in row 2",
    ),
    "days and months": (
        {"ds": ["13/01/2020", "01/14/2020"], "y": list("12")},
        r"'13/01/2020' in row 2 of .*'01/14/2020' in row 3",
    ),
    "dates in two notations": (
        {"ds": ["13.01.2020", "2020-01-14"], "y": list("12")},
        r"'13\.01\.2020' in row 2 of .*'2020-01-14' in row 3",
    ),
    "offsets in some rows": (
        {"ds": [*hours(2, "%Y-%m-%d %H:%M:%S+01"), "2026-02-01 00:00:00"], "y": list("123")},
        r"received both: .*\+01' in row 2 of .*'2026-02-01 00:00:00' in row 4",
    ),
    "offsets in later rows": (
        {"ds": ["2026-01-01 00:00", "2026-01-01T01:00-0530"], "y": list("12")},
        "received both",
    ),
    **{
        f"the year {year}": (
            {"ds": [*hours(2), f"{year}-01-01 00:00"], "y": list("123")},
            rf"1800 to 2090.*'{year}-01-01 00:00' in row 4",
        )
        for year in ("0001", "1700", "2262", "9999")
    },
    "a long timestamp": ({"ds": [hours(1)[0] + " " * 9 + "0" * 99], "y": ["1"]}, "at most 64"),
    "a long number": ({"ds": hours(1), "y": ["1" * 65]}, "at most 64"),
    "a long name": ({"unique_id": ["ü" * 501], "ds": hours(1), "y": ["1"]}, "1,000 bytes"),
    "a name in two lines": ({"unique_id": ["a\nb"], "ds": hours(1), "y": ["1"]}, "line"),
    "a number with an underscore": ({"ds": hours(1), "y": ["1_000"]}, "'1_000' in row 2"),
    "no such column": ({"ds": hours(1), "Last MW": ["1"]}, "columns: .*'Last MW'"),
}


def moved(said: str, entrance: str) -> str:
    """What is said where two lines stand above the header."""
    if entrance != "blank lines first":
        return said
    return re.sub(r"row (\d+)", lambda row: f"row {int(row[1]) + 2}", said)


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("kind", READ)
def test_it_is_read_alike(kind: str, entrance: str) -> None:
    table, values, said = READ[kind]
    frame = read_series(ENTRANCES[entrance](table), "sales.csv")
    assert frame["y"].astype(object).where(frame["y"].notna(), None).tolist() == values
    assert frame["ds"].is_monotonic_increasing and (frame["ds"].dt.minute == 0).all()
    assert re.search(moved(said, entrance), " ".join(notes(frame)))


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_alike(kind: str, entrance: str) -> None:
    table, said = REFUSED[kind]
    with pytest.raises(SeriesError, match=moved(said, entrance)) as caught:
        read_series(ENTRANCES[entrance](table), "sales.csv")
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@cache
def page_answers() -> dict[tuple[str, str], Any]:
    tables = {kind: table for kind, (table, *_) in {**READ, **REFUSED}.items()}
    keys = [(entrance, kind) for entrance in ("paste", "upload") for kind in tables]
    texts = [(entrance, written(tables[kind], "\t").decode()) for entrance, kind in keys]
    return dict(zip(keys, on_the_page(texts), strict=True))


@pytest.mark.parametrize("entrance", ["paste", "upload"])
def test_customers_get_the_same(entrance: str) -> None:
    for kind, (_, values, said) in READ.items():
        found, sentences, *_ = page_answers()[entrance, kind]
        assert found == values, kind
        assert re.search(said.replace(r"sales\.csv", ".*"), sentences), kind
    for kind, (_, said) in REFUSED.items():
        assert re.search(said, page_answers()[entrance, kind]), kind


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("10,0,2026-01-01 00:00\n", "row 2 has 3 fields, the header 2"),
        ("2026-01-01 00:00,1\n2026-01-01 01:00,2,3\n", "row 3 has 3 fields, the header 2"),
        ("2026-01-01 00:00,1\n\n2026-01-01 0", "row 4 has 1 field, the header 2"),
        ('2026-01-01 00:00,1\n2026-01-01 01:00,"2\n2026-01-01 02:00,3"\n', "a quote of line 3"),
        ('2026-01-01 00:00,1\n"2026-01-01 01:00,2\n', "a quote of line 3"),
        ('2026-01-01 00:00,"1"2\n', "a quote of line 2"),
    ],
)
def test_rows_that_shift_or_swallow_others_are_refused(rows: str, message: str) -> None:
    with pytest.raises(SeriesError, match=message):
        read_series(f"ds,y\n{rows}".encode(), "sales.csv")


@pytest.mark.parametrize("extra", ["note", "comment, long"])
def test_a_stray_quote_in_another_column_swallows_no_rows(extra: str) -> None:
    table = {"ds": hours(5), "y": list("12345"), extra: ["", "x", "", "", ""]}
    text = written(table).decode().replace(",x", ',"stray').replace("5,", '5,end"')
    with pytest.raises(SeriesError, match="a quote of line 3"):
        read_series(text.encode(), "sales.csv")


def test_a_separator_too_many_at_the_end_of_rows_is_dropped() -> None:
    frame = read_series(b"ds;y\n2026-01-01 00:00;1,5;\n2026-01-01 01:00;2;\n", "sales.csv")
    assert frame["y"].tolist() == [1.5, 2]


def test_a_spreadsheets_line_about_separators_is_no_header() -> None:
    frame = read_series(b"sep=;\nds;y\n2026-01-01 00:00;1,5\n", "sales.csv")
    assert frame["y"].tolist() == [1.5]


def test_text_of_western_europe_is_read_and_said() -> None:
    content = "unique_id,ds,y\nZürich,2026-01-01,1\n".encode("cp1252")
    frame = read_series(content, "sales.csv")
    assert frame["unique_id"].tolist() == ["Zürich"]
    assert "is not in UTF-8" in notes(frame)[0] and "'Zürich'" in notes(frame)[0]
    with pytest.raises(SeriesError, match="another encoding"):
        read_series("unique_id,ds,y\nデータ,2026-01-01,1\n".encode("shift-jis"), "sales.csv")


@pytest.mark.parametrize("levels", [["unique_id"], ["unique_id", "ds"], ["Unique_ID"]])
@pytest.mark.parametrize("through", [lambda frame: frame, frame_parquet])
def test_named_levels_of_an_index_are_columns(levels: list[str], through: Any) -> None:
    names = [*(["a"] * 2), *(["b"] * 2)]
    table = pd.DataFrame(
        {levels[0]: names, "ds": [START, START + timedelta(hours=1)] * 2, "y": 1.0}
    )
    frame = read_series(through(table.set_index(levels)), "sales.parquet")
    assert frame["unique_id"].tolist() == names
    assert notes(frame) == []


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("year", [1, 1700, 2262, 9999])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_marks_for_no_time_are_refused_in_typed_columns(
    year: int, unit: str, zone: str | None
) -> None:
    timestamps = pa.array([START, datetime(year, 1, 1)], pa.timestamp(unit, zone))
    content = parquet({"ds": timestamps, "y": [1.0, 2.0]})
    typed = pq.read_table(io.BytesIO(content)).to_pandas()
    for source in (content, typed):
        with pytest.raises(SeriesError, match=rf"{year:04}-01-01 .*in row 3 of sales"):
            read_series(source, "sales.parquet")


def test_the_clock_that_came_in_is_kept() -> None:
    rows = ["2026-10-25T01:00+02:00", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    table = {
        "unique_id": ["a", "a", "a", "b"],
        "ds": [*rows, "2026-10-25T01:00Z"],
        "y": list("1234"),
    }
    zoned = pd.DataFrame(
        {"ds": pd.to_datetime(rows, utc=True).tz_convert("Europe/Berlin"), "y": 1.0}
    )
    assert read_series(written(table)).attrs["utc_offsets"] == {"a": 60, "b": 0}
    assert read_series(parquet(table)).attrs["utc_offsets"] == {"a": 60, "b": 0}
    assert read_series(zoned, "c").attrs["utc_offsets"] == {"c": 60}
    assert tidy(read_series(zoned, "c")).attrs["utc_offsets"] == {"c": 60}


def test_what_tidying_does_is_said_too() -> None:
    table = {
        "ds": [*hours(3), hours(3)[1], hours(3)[2], hours(6)[5]],
        "y": ["1", "2", "", "2", "3", "4"],
    }
    said = notes(tidy(read_series(written(table), "sales.csv")))
    assert said == [
        "1 empty cell in y is taken as missing.",
        "1 repeated row was kept once, as the values are the same.",
        "1 empty value was dropped beside another row of that time.",
        "2 missing rows were filled with missing values.",
    ]


def test_a_doubled_hour_of_the_night_is_reported_of_the_clocks() -> None:
    table = {
        "ds": [*hours(3, start=datetime(2026, 10, 25)), "2026-10-25 02:00"],
        "y": ["1", "2", "1234567.5", "3"],
    }
    with pytest.raises(SeriesError, match=r"1234567\.5, 3\.0\. If clocks went back then"):
        tidy(read_series(written(table), "sales.csv"))
    noon = [*hours(3, start=datetime(2026, 10, 25, 10)), "2026-10-25 12:00"]
    with pytest.raises(SeriesError, match=r"Keep one, or sum or average them"):
        tidy(read_series(written({**table, "ds": noon}), "sales.csv"))


def test_seconds_apart_are_not_made_one() -> None:
    timestamps = ["2026-01-01 00:00:59", "2026-01-01 00:01:00", "2026-01-01 00:01:01"]
    frame = read_series(written({"ds": timestamps, "y": list("123")}))
    assert frame["ds"].dt.second.tolist() == [59, 0, 1]


PASTED = {
    "310,5\n311,2\n312": [310.5, 311.2, 312.0],
    "310,5 311,2\t-312,25": [310.5, 311.2, -312.25],
    "310,5; 311;; 312,2": [310.5, 311.0, None, 312.2],
    "1,234\n2,5\n": [1.234, 2.5],
    "1,2,3": [1.0, 2.0, 3.0],
    "1, 2, nan, 3": [1.0, 2.0, None, 3.0],
    "1,2,3\n4,5,6\n7,8": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "1,2,3,\n4,nan,6,\n": [1.0, 2.0, 3.0, 4.0, None, 6.0],
    "100,200,300": [100.0, 200.0, 300.0],
    "1.234 0.5": [1.234, 0.5],
}
NOT_PASTED = {
    "999\n1,000\n1,010": "'1,000' at place 2.*Three digits follow every comma",
    "999\n1.000\n1.010": r"'1\.000' at place 2.*Three digits follow every point",
    "1,234,567\n1,234,568": "'1,234,567' at place 1",
    "1,000; 999": "'1,000' at place 1",
    "999, 1,000, 1,010": "within numbers or between them",
    "1,002,999": "'002' at place 2",
    "310,5\n310.5": r"'310\.5' at place 2.*'310,5' at place 1",
    "310,5\n311,\n312": "within numbers or between them",
    "310,5, 311,2, 312": "within numbers or between them",
    "1,2\n3,4,5": "within numbers or between them",
    ",5\n0,6": "within numbers or between them",
}


def test_pasted_numbers_are_decided_by_the_whole_text() -> None:
    texts = [*PASTED, *NOT_PASTED]
    answers = on_the_page(
        [(entrance, text) for entrance in ("paste", "/api/forecast") for text in texts]
    )
    for text, answer in zip(texts * 2, answers, strict=True):
        if text in PASTED:
            assert answer[0] == PASTED[text], text
        else:
            assert re.search(NOT_PASTED[text], answer), text


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, list[float], bool]:
    """A table in some notation, what it means, and whether it is unambiguous."""
    decimals = draw(st.integers(0, 4))
    size = draw(st.sampled_from([1, 100, 100_000]))
    values = draw(
        st.lists(
            st.floats(-size, size).map(lambda value: round(value, decimals)),
            min_size=2,
            max_size=12,
        )
    )
    mark = draw(st.sampled_from(".,"))
    thousands = draw(st.booleans()) and size > 100
    texts = [f"{value:{',' if thousands else ''}.{decimals}f}" for value in values]
    texts = [text.translate({ord("."): mark, ord(","): ".,"[mark == "."]}) for text in texts]
    if thousands and draw(st.booleans()):  # as a spreadsheet shows whole numbers
        texts = [text.removesuffix(mark + "0" * decimals) for text in texts] if decimals else texts
    form = draw(
        st.sampled_from(["%Y-%m-%d %H:%M", "%Y%m%dT%H%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M"])
    )
    start = draw(st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)))
    start = start.replace(minute=0, second=0, microsecond=0)
    timestamps = [start + timedelta(hours=at) for at in range(len(values))]
    clear = not thousands and decimals not in (0, 3)
    clear &= form.startswith("%Y") or any(timestamp.day > 12 for timestamp in timestamps)
    return {"ds": [timestamp.strftime(form) for timestamp in timestamps], "y": texts}, values, clear


@quick
@given(tables(), st.sampled_from(sorted(ENTRANCES)))
def test_no_generated_table_is_read_wrongly(
    made: tuple[Table, list[float], bool], entrance: str
) -> None:
    table, values, clear = made
    try:
        frame = read_series(ENTRANCES[entrance](table), "sales.csv")
    except SeriesError:
        assert not clear
        return
    # Thousands alone, all with points, cannot be distinguished from three decimals: they are named.
    named = not clear and "Points in numbers are decimal" in " ".join(notes(frame))
    found = frame["y"].tolist()
    assert found == values or (named and found == [value / 1000 for value in values])
    assert (frame["ds"].diff().dropna() == pd.Timedelta("1h")).all()


def _texts(values: list[float], decimals: int) -> Iterator[tuple[str, bool]]:
    """Notations of numbers, and whether each is unambiguous."""
    plain = [f"{value:.{decimals}f}" for value in values]
    comma = [text.replace(".", ",") for text in plain]
    for between in (",", ", ", "\n", " ", "\t", ";"):
        yield between.join(plain), between in ", " or decimals not in (0, 3)
    for between in ("\n", " ", "; ", ";\n"):
        yield between.join(comma), decimals not in (0, 3)
    yield "\n".join(f"{value:,.{decimals}f}" for value in values), False


@settings(quick, max_examples=2)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.lists(st.integers(-9_999_999, 9_999_999), min_size=3, max_size=8)
        ),
        min_size=20,
        max_size=40,
    )
)
def test_no_generated_text_is_read_wrongly(made: list[tuple[int, list[int]]]) -> None:
    texts_sent = [
        (text, clear, [round(value / 10**decimals, decimals) for value in whole])
        for decimals, whole in made
        for text, clear in _texts([value / 10**decimals for value in whole], decimals)
    ]
    answers = on_the_page([("paste", text) for text, *_ in texts_sent])
    for (text, clear, values), answer in zip(texts_sent, answers, strict=True):
        assert answer[0] == values or (isinstance(answer, str) and not clear), (text, answer)


SOUND = [
    written({"unique_id": ["a", "b"], "ds": hours(2), "y": ["1", "2,5"]}),
    written({"ds": hours(3, "%d.%m.%Y"), "y": list("123")}, ";", "utf-16"),
    parquet({"unique_id": ["a", "b"], "ds": hours(2), "y": [1.0, None]}),
]


@quick
@given(st.data())
def test_whatever_the_bytes_only_sentences_come_back(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SOUND) | st.binary(max_size=200)))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        frame = read_series(bytes(content), "sales.csv", 1000)
    except SeriesError as error:
        assert "\n" not in str(error)
    else:
        assert list(frame.columns) == ["unique_id", "ds", "y"] and len(frame)
