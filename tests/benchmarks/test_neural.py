"""Neural baselines run elsewhere: what they get and give, with a stand-in for neuralforecast."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_files import contract
from sample_series import hourly_series

from benchmarks.accuracy.neural import NeuralError, neural_forecasts

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = '''
import pandas as pd
from types import SimpleNamespace

class NHITS:
    def __init__(self, h, input_size, loss, accelerator, **trainer):
        assert loss.level == [80, 95] and accelerator == "cpu"
        self.h, self.input_size, self.trainer = h, input_size, trainer

models = SimpleNamespace(NHITS=NHITS)

class NeuralForecast:
    def __init__(self, models, freq):
        (self.model,), self.freq = models, freq

    def cross_validation(self, df, n_windows, step_size):
        """The value of a season before, and how the model was made."""
        assert df["y"].notna().all() and self.freq == "h"
        parts = []
        for name, one in df.groupby("unique_id"):
            end = one.tail(n_windows * step_size).copy()
            first = end["ds"].iloc[0] + pd.to_timedelta(
                pd.Series(range(len(end)), index=end.index) // step_size * step_size, unit="h"
            )
            end["cutoff"] = first - pd.Timedelta(hours=1)
            end["NHITS-median"] = one["y"].shift(24)[end.index]
            for at, bound in enumerate(("lo-95", "lo-80", "hi-80", "hi-95")):
                end[f"NHITS-{bound}"] = end["NHITS-median"] + at - 1.5
            parts.append(end)
        if self.model.trainer.get("max_steps") == 13:
            raise ValueError("thirteen steps")
        return pd.concat(parts)
'''


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose neural environment is this one, with the stand-in."""
    package = tmp_path / "neuralforecast"
    (package / "losses").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    (package / "losses" / "__init__.py").touch()
    loss = "class MQLoss:\n    def __init__(self, level): self.level = level\n"
    (package / "losses" / "pytorch.py").write_text(loss)
    python = tmp_path / ".venv" / "neural" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("kalecast.project.PROJECT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    return python


def test_forecasts_come_from_another_environment(environment: Path):
    series = hourly_series(count=2, hours=300)
    series.loc[5, "y"] = np.nan
    found = neural_forecasts(series, contract(), 3, "NHITS")
    bounds = [f"NHITS-{side}-{level}" for level in (80, 95) for side in ("lo", "hi")]
    assert list(found) == ["unique_id", "ds", "cutoff", "NHITS", *bounds]
    assert len(found) == 2 * 3 * 24
    ahead = found.groupby(["unique_id", "cutoff"])["ds"].min().reset_index()
    assert set(ahead["ds"] - ahead["cutoff"]) == {pd.Timedelta(hours=1)}
    assert (found["NHITS-hi-95"] > found["NHITS-lo-95"]).all()


def test_what_fails_there_is_said_here(environment: Path):
    with pytest.raises(NeuralError, match=r"Expected forecasts of NHITS.*thirteen steps"):
        neural_forecasts(hourly_series(1, 300), contract(), 1, "NHITS", steps=13)
    environment.unlink()
    with pytest.raises(NeuralError, match="Expected the environment"):
        neural_forecasts(hourly_series(1, 300), contract(), 1, "NHITS")
