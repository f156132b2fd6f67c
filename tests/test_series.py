"""Reading and tidying series: what is taken, and what is said of the rest."""

import io

import numpy as np
import pandas as pd
import pytest

from kalecast.series import SeriesError, describe, fingerprint, read_series, tidy


def read(text: str | bytes, frequency: str = "h") -> pd.DataFrame:
    content = text.encode() if isinstance(text, str) else text
    return tidy(read_series(content, "sales.csv"), frequency)


def error_of(text: str | bytes, frequency: str = "h") -> str:
    with pytest.raises(SeriesError) as caught:
        read(text, frequency)
    message = str(caught.value)
    assert "Traceback" not in message
    assert "\n" not in message
    return message


def hourly(count: int, start: str = "2026-01-01") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="h")


def test_a_gap_and_an_empty_value_are_unknown():
    frame = read("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,\n2026-01-01 03:00,4\n")
    assert frame["ds"].tolist() == hourly(4).tolist()
    np.testing.assert_array_equal(frame["y"], [1, np.nan, np.nan, 4])


def test_a_single_series_is_named_after_its_file():
    assert read("ds,y\n2026-01-01 00:00,1\n")["unique_id"].tolist() == ["sales"]


def test_series_keep_their_names_as_text_and_are_sorted():
    frame = read(
        "unique_id,ds,y\n007,2026-01-01 01:00,2\nb,2026-01-01 00:00,3\n007,2026-01-01 00:00,1\n"
    )
    assert frame["unique_id"].tolist() == ["007", "007", "b"]
    assert frame["y"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "ds;y\n2026-01-01 00:00;1,5\n2026-01-01 01:00;2,5\n",
        "ds\ty\n2026-01-01 00:00\t1.5\n2026-01-01 01:00\t2.5\n",
        "\ufeffDS, Y\r\n2026-01-01T00:00:00Z, 1.5\r\n2026-01-01T01:00:00Z,2.5\r\n",
        "y,note,ds\n1.5,a,2026-01-01 00:00\n2.5,,2026-01-01 01:00\n,,\n",
    ],
)
def test_the_forms_that_spreadsheets_write(text: str):
    frame = read(text)
    assert frame["y"].tolist() == [1.5, 2.5]
    assert frame["ds"].tolist() == hourly(2).tolist()


def test_parquet_and_data_frames_read_like_csv():
    frame = pd.DataFrame({"unique_id": "a", "ds": hourly(3), "y": [1, 2, 3]})
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    pd.testing.assert_frame_equal(read(buffer.getvalue()), tidy(read_series(frame)))


def test_stamps_with_offsets_become_utc_through_a_change_of_clocks():
    text = "ds,y\n2026-10-25T01:00+02:00,1\n2026-10-25T02:00+02:00,2\n2026-10-25T02:00+01:00,3\n"
    assert read(text)["ds"].tolist() == hourly(3, "2026-10-24 23:00").tolist()


def test_a_row_twice_counts_once_and_a_known_value_beats_an_unknown_one():
    frame = read(
        "ds,y\n2026-01-01 00:00,\n2026-01-01 00:00,1\n2026-01-01 01:00,2\n2026-01-01 01:00,2\n"
    )
    assert frame["y"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("   \n \n", "is empty"),
        ("ds,y\n", "received none in sales.csv"),
        ("time,value\n1,2\n", "received the columns: 'time', 'value'"),
        ("hello", "Expected a column 'ds' and a column 'y'"),
        ("ds,y,y\n1,1,1\n", "Expected a"),
        (b"\x89PNG\r\n\0\0", "is not text"),
        (b"PAR1 and then nothing", "damaged"),
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,abc\n", "'abc' in row 3 of sales.csv"),
        ("ds,y\n2026-01-01 00:00,1\n\n2026-01-01 01:00,abc\n", "'abc' in row 4 of sales.csv"),
        ("ds,y\n2026-01-01 00:00,inf\n", "Expected finite numbers"),
        ("ds,y\n2026-01-01 00:00,1e999\n", "Expected"),
        ('ds,y\n2026-01-01 00:00,"1,234.5"\n', "'1,234.5' in row 2"),
        ("ds,y\n31/01/2026 00:00,1\n", "such as '2026-01-31 13:00'"),
        ("ds,y\n12345,1\n", "'12345' in row 2"),
        ("ds,y\n,1\n", "received: nothing in row 2"),
        ("ds,y\n2026-01-01T00:00Z,1\n2026-01-01 01:00,2\n", "received both"),
        ("unique_id,ds,y\n ,2026-01-01,1\n", "row 2 of sales.csv has none"),
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 00:00,2\n", "has several at 2026-01-01"),
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 00:30,2\n", "30 minutes later"),
        ("ds,y\n2026-01-01,1\n2026-01-02,2\n2026-01-03,3\n", "3 known values in 49 steps"),
        ('ds,y\n"2026-01-01,1\n', "cannot be read as one"),
        ("ds,y\n" + "x" * 5000 + ",1\n", "..."),
    ],
)
def test_what_cannot_be_read_is_said_in_its_owners_words(text: str | bytes, part: str):
    message = error_of(text)
    assert part in message
    assert len(message) < 400


def test_half_hourly_data_are_welcome_where_the_frequency_says_so():
    frame = read("ds,y\n2026-01-01 00:00,1\n2026-01-01 00:30,2\n", frequency="30min")
    assert frame["y"].tolist() == [1, 2]


def test_a_frequency_without_fixed_length_is_refused():
    assert "'ME'" in error_of("ds,y\n2026-01-01,1\n", frequency="ME")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SeriesError, match=r"none\.csv"):
        read_series(tmp_path / "none.csv")


def test_the_fingerprint_follows_the_content_alone():
    frame = read("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,2\n")
    assert fingerprint(frame) == fingerprint(frame.sample(frac=1, random_state=1).sort_values("ds"))
    assert fingerprint(frame) != fingerprint(frame.assign(y=[1.0, 3.0]))


def test_describe_counts_gaps():
    overview = describe(read("ds,y\n2026-01-01 00:00,1\n2026-01-01 02:00,3\n"))
    assert overview[["steps", "unknown", "mean"]].iloc[0].tolist() == [3, 1, 2]
