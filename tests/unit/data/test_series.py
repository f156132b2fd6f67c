"""Reading and tidying series: what is taken, and what is said of the rest."""

import io

import numpy as np
import pandas as pd
import pytest

from kalecast.data.frequency import infer_frequency
from kalecast.data.series import (
    SeriesError,
    describe,
    fingerprint,
    notes,
    read_series,
    tidy,
)


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


def test_timestamps_with_offsets_become_utc_through_a_change_of_clocks():
    text = "ds,y\n2026-10-25T01:00+02:00,1\n2026-10-25T02:00+02:00,2\n2026-10-25T02:00+01:00,3\n"
    assert read(text)["ds"].tolist() == hourly(3, "2026-10-24 23:00").tolist()


@pytest.mark.parametrize("frequency", ["D", "B", "W-MON", "MS", "ME", "QS"])
def test_midnights_of_a_clock_that_changes_are_its_days(frequency: str):
    local = pd.date_range("2025-01-31", "2026-12-31", freq=frequency, tz="Europe/Paris")
    texts = [timestamp.isoformat() for timestamp in local]
    for ds in (texts, local):
        table = read_series(pd.DataFrame({"ds": ds, "y": np.arange(float(len(local)))}))
        assert table["ds"].tolist() == local.tz_localize(None).tolist()
        assert "midnights of a clock that changes" in " ".join(notes(table))
        assert table.attrs["utc_offsets"] == {}
        assert len(tidy(table, infer_frequency(table))) == len(local)


def test_midnights_of_one_offset_are_moments_as_all_others():
    text = "ds,y\n2026-01-01T00:00+02:00,1\n2026-01-02T00:00+02:00,2\n"
    assert read_series(text.encode())["ds"].dt.hour.tolist() == [22, 22]


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
        ("ds,y,y\n1,1,1\n", "Expected one column 'y' in sales.csv, received several: 'y', 'y'"),
        (b"\x89PNG\r\n\0\0", "is not text"),
        (b"PAR1 and then nothing", "damaged"),
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,abc\n", "'abc' in row 3 of sales.csv"),
        ("ds,y\n2026-01-01 00:00,1\n\n2026-01-01 01:00,abc\n", "'abc' in row 4 of sales.csv"),
        ("ds,y\n2026-01-01 00:00,inf\n", "Expected finite numbers"),
        ("ds,y\n2026-01-01 00:00,1e999\n", "Expected"),
        ('ds,y\n2026-01-01 00:00,"1,234.5"\n', "'1,234.5' in row 2"),
        ("ds,y\n01/02/2026 00:00,1\n", "'01/02/2026 00:00' in row 2 of sales.csv"),
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


@pytest.mark.parametrize("frequency", ["YS", "BME", "2MS", "SMS", "-1h", "0h", "", "99999999999h"])
def test_a_frequency_that_is_none_is_refused(frequency: str):
    assert repr(frequency) in error_of("ds,y\n2026-01-01,1\n", frequency=frequency)


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


def every(hours: int, name: str = "meter", steps: int = 400, frequency: str = "h") -> pd.DataFrame:
    """A series with a value every so many steps, as a file has it: no rows between."""
    timestamps = pd.date_range("2026-03-01 01:00", periods=steps, freq=frequency)[::hours]
    return pd.DataFrame(
        {"unique_id": name, "ds": timestamps, "y": np.arange(float(len(timestamps)))}
    )


@pytest.mark.parametrize(
    ("apart", "frequency", "words", "remedy"),
    [
        (2, "h", "one every 2 hours", "frequency=2h season=12"),
        (3, "h", "one every 3 hours", "frequency=3h season=8"),
        (4, "h", "one every 4 hours", "frequency=4h season=6"),
        (5, "h", "one every 5 hours", "a whole number"),
        (6, "h", "one every 6 hours", "frequency=6h season=4"),
        (8, "h", "one every 8 hours", "frequency=8h season=3"),
        (12, "h", "one every 12 hours", "frequency=12h season=2"),
        (24, "h", "one every day", "frequency=D season=7"),
        (2, "15min", "one every 30 minutes", "frequency=30min season=48"),
        (4, "15min", "one every hour", "frequency=h season=24"),
        (7, "D", "one every week", "frequency=W-SUN."),
        (3, "D", "one every 3 days", "every day or every week"),
        (3, "MS", "one every quarter", "frequency=QS-MAR."),
        (2, "MS", "one every 2 months", "every month or every quarter"),
        (2, "QS", "one every 2 quarters", "every month or every quarter"),
    ],
)
def test_values_coarser_than_the_frequency_are_no_gaps(
    apart: int, frequency: str, words: str, remedy: str
):
    coarse = every(apart, frequency=frequency)
    unknown_between = every(1, frequency=frequency)
    unknown_between.loc[unknown_between.index % apart != 0, "y"] = np.nan
    gappy = coarse.drop(index=[3, 4, 7])
    for table in (coarse, unknown_between, gappy):
        with pytest.raises(SeriesError, match=words) as refused:
            tidy(table, frequency)
        assert remedy in str(refused.value)


def test_one_coarse_or_silent_series_does_not_cost_the_others_theirs():
    silent = every(1, "silent").assign(y=np.nan)
    table = pd.concat([every(1, "good"), every(3, "coarse"), silent], ignore_index=True)
    table.attrs["notes"] = ["Of the reader."]
    laid = tidy(table, "h")
    assert set(laid["unique_id"]) == {"good"}
    first, coarse, sparse = laid.attrs["notes"]
    assert first == "Of the reader."
    assert coarse.startswith("Left out: ") and "'coarse' has one every 3 hours" in coarse
    assert sparse.startswith("Left out: ") and "'silent' has 0 known values" in sparse


@pytest.mark.parametrize("seed", range(20))
def test_gaps_at_random_are_not_taken_for_a_coarser_grid(seed: int):
    rng = np.random.default_rng(seed)
    whole = every(1, steps=int(rng.integers(24, 300)))
    share = rng.uniform(0.0, 0.6)
    table = whole[rng.uniform(size=len(whole)) > share].reset_index(drop=True)
    assert tidy(table, "h")["y"].notna().sum() == len(table)
    few = whole[whole.index % 2 == 0].head(7)
    assert tidy(few, "h")["y"].notna().sum() == 7
