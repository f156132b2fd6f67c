"""The network: raw histories in, quantile forecasts in the same unit out.

One global network serves series of any scale. Everything that depends on a series' level and
spread, and everything that unknown values need, happens inside the graph, in float64 at its two
ends: so the exported file takes raw history and no scaler can get lost on the way.
"""

import io
import os
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Read when TensorFlow is first imported: without it each step's log opens with its chatter.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
from keras import layers, ops

from kalecast.bundle import INPUT_NAME, OUTPUT_NAME
from kalecast.runtime import Windows

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)


@dataclass(frozen=True)
class NetworkSettings:
    """What decides the network's shape.

    `input_length` must be a multiple of `season`; `quantiles` ascend and hold 0.5.
    """

    input_length: int = 336
    horizon: int = 48
    season: int = 24
    quantiles: tuple[float, ...] = QUANTILES
    width: int = 256
    blocks: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.input_length % self.season:
            raise ValueError(
                f"Expected input_length to be a multiple of season={self.season}, "
                f"received: {self.input_length}"
            )
        for name in ("input_length", "horizon", "season", "width", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, received: {getattr(self, name)}")


@keras.saving.register_keras_serializable("kalecast")
class Normalise(layers.Layer):
    """Brings histories of any unit to a common scale and fills what is unknown.

    An unknown step takes the mean of the known values at the same step of the season; where
    there is none, the level of the whole window. Sums run over values divided by the window's
    largest, so that no finite input overflows.

    Args:
        season: steps a season; divides the window.

    Input shape:
        `(batch, input_length)`, float64, NaN where unknown.

    Output shape:
        Values and known-flags, float32 `(batch, input_length)`; level and spread, float64
        `(batch, 1)`, in the unit of the history.
    """

    def __init__(self, season: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float64", "autocast": False})
        self.season = season

    def call(self, history: Any) -> tuple[Any, Any, Any, Any]:
        """Normalise a batch of windows."""
        unknown = ops.isnan(history)
        known = ops.cast(ops.logical_not(unknown), "float64")
        raw = ops.where(unknown, ops.zeros_like(history), history)
        peak = ops.max(ops.abs(raw), axis=1, keepdims=True)
        unit = ops.where(peak > 0, peak, ops.ones_like(peak))
        values = raw / unit
        count = ops.maximum(ops.sum(known, axis=1, keepdims=True), 1.0)
        level = ops.sum(values, axis=1, keepdims=True) / count
        spread = ops.sum(ops.abs(values - level) * known, axis=1, keepdims=True) / count
        divisor = ops.where(spread > 0, spread, ops.ones_like(spread))
        scaled = (values - level) / divisor * known
        filled = scaled + self._seasonal_means(scaled, known) * (1.0 - known)
        return (
            ops.cast(ops.clip(filled, -20.0, 20.0), "float32"),
            ops.cast(known, "float32"),
            level * unit,
            spread * unit,
        )

    def _seasonal_means(self, scaled: Any, known: Any) -> Any:
        seasons = scaled.shape[1] // self.season
        by_season = (-1, seasons, self.season)
        sums = ops.sum(ops.reshape(scaled, by_season), axis=1)
        counts = ops.sum(ops.reshape(known, by_season), axis=1)
        return ops.tile(sums / ops.maximum(counts, 1.0), (1, seasons))

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "season": self.season}


@keras.saving.register_keras_serializable("kalecast")
class Quantiles(layers.Layer):
    """Turns a median and gaps between quantiles into quantiles that cannot cross.

    The gaps are softplus of free numbers, added up outwards from the median.

    Args:
        below: how many quantiles lie below the median.
        above: how many lie above.

    Input shape:
        `(batch, horizon, below + 1 + above)`: gaps below, median, gaps above.

    Output shape:
        The same, ascending along the last axis.
    """

    def __init__(self, below: int, above: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.below = below
        self.above = above

    def call(self, raw: Any) -> Any:
        """Add the gaps up."""
        median = raw[..., self.below : self.below + 1]
        parts = [median]
        for gap in range(self.below - 1, -1, -1):
            parts.insert(0, parts[0] - ops.softplus(raw[..., gap : gap + 1]))
        for gap in range(self.below + 1, self.below + 1 + self.above):
            parts.append(parts[-1] + ops.softplus(raw[..., gap : gap + 1]))
        return ops.concatenate(parts, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "below": self.below, "above": self.above}


@keras.saving.register_keras_serializable("kalecast")
class Denormalise(layers.Layer):
    """Brings a normalised forecast back to the unit of its history.

    Input shape:
        Forecast float32 `(batch, horizon, quantiles)`; level and spread float64 `(batch, 1)`.

    Output shape:
        `(batch, horizon, quantiles)`, float64.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float64", "autocast": False})

    def call(self, forecast: Any, level: Any, spread: Any) -> Any:
        """Scale and shift."""
        widened = ops.cast(forecast, "float64")
        return widened * ops.expand_dims(spread, -1) + ops.expand_dims(level, -1)


def build_network(settings: NetworkSettings) -> keras.Model:
    """A residual network over the whole window, with a linear path beside it.

    The linear path starts as the mean of the window's values at the same step of the season,
    and the residual blocks start at nothing: so training begins from a sensible forecast and
    spends its time on what is better than that.

    Returns:
        A model from `history` `(batch, input_length)` to `forecast`
        `(batch, horizon, quantiles)`, both float64.
    """
    history = keras.Input((settings.input_length,), dtype="float64", name=INPUT_NAME)
    values, known, level, spread = Normalise(settings.season, name="normalise")(history)
    state = layers.Dense(settings.width, activation="relu", name="embed")(
        layers.Concatenate(name="values_and_known")([values, known])
    )
    for block in range(settings.blocks):
        state = _residual_block(state, settings, f"block_{block + 1}")
    count = len(settings.quantiles)
    raw = layers.Dense(settings.horizon * count, kernel_initializer="zeros", name="head")(state)
    raw = layers.Reshape((settings.horizon, count), name="by_hour")(raw)
    linear = layers.Dense(settings.horizon, name="linear_path")(values)
    median = settings.quantiles.index(0.5)
    shift = layers.Reshape((settings.horizon, 1), name="linear_by_hour")(linear)
    raw = AddToMedian(median, name="add_linear_path")([raw, shift])
    normalised = Quantiles(median, count - 1 - median, name="quantiles")(raw)
    forecast = Denormalise(name=OUTPUT_NAME)(normalised, level, spread)
    network = keras.Model(history, forecast, name="forecaster")
    network.get_layer("linear_path").set_weights(_seasonal_mean(settings))
    return network


def _seasonal_mean(settings: NetworkSettings) -> list[Any]:
    """Weights with which a linear layer forecasts the window's mean at each step of the season."""
    ahead = np.arange(settings.input_length, settings.input_length + settings.horizon)
    apart = ahead[None, :] - np.arange(settings.input_length)[:, None]
    seasons = settings.input_length // settings.season
    kernel = np.where(apart % settings.season == 0, 1.0 / seasons, 0.0).astype("float32")
    return [kernel, np.zeros(settings.horizon, dtype="float32")]


def _residual_block(state: Any, settings: NetworkSettings, name: str) -> Any:
    inner = layers.LayerNormalization(name=f"{name}_norm")(state)
    inner = layers.Dense(settings.width, activation="relu", name=f"{name}_in")(inner)
    inner = layers.Dropout(settings.dropout, name=f"{name}_dropout")(inner)
    inner = layers.Dense(settings.width, name=f"{name}_out")(inner)
    return layers.Add(name=f"{name}_add")([state, inner])


@keras.saving.register_keras_serializable("kalecast")
class AddToMedian(layers.Layer):
    """Adds a path to the median alone; the gaps around it stay as they are.

    Args:
        median: index of the median along the last axis.

    Input shape:
        `(batch, horizon, quantiles)` and `(batch, horizon, 1)`.

    Output shape:
        `(batch, horizon, quantiles)`.
    """

    def __init__(self, median: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.median = median

    def call(self, inputs: Sequence[Any]) -> Any:
        """Add the second input to the first's median."""
        raw, shift = inputs
        at_median = np.zeros(raw.shape[-1], dtype="float32")
        at_median[self.median] = 1.0
        return raw + shift * ops.convert_to_tensor(at_median)

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "median": self.median}


def to_bytes(network: keras.Model) -> bytes:
    """A network as the bytes of a `.keras` file, which pass between pipeline steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return path.read_bytes()


def from_bytes(content: bytes) -> keras.Model:
    """The network that `to_bytes` wrote. Load only what you wrote yourself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        path.write_bytes(content)
        return keras.saving.load_model(path, compile=False)


def to_onnx(network: keras.Model) -> bytes:
    """A network as ONNX, with a free batch axis.

    Not yet a model file: `bundle.write_contract` makes it one.
    """
    import onnx

    # A network just loaded has never been called, and the export refuses that.
    predict(network, np.zeros((1, network.input_shape[1])))
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder) / "network.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the converter looks for np.object
            network.export(path, format="onnx", verbose=False)
        model = onnx.load(path)
    _rename_output(model.graph, OUTPUT_NAME)
    content: bytes = model.SerializeToString()
    return content


def _rename_output(graph: Any, name: str) -> None:
    """Give the only output its name of the contract; the converter calls it after an op."""
    (output,) = graph.output
    for node in graph.node:
        for index, made in enumerate(node.output):
            if made == output.name:
                node.output[index] = name
    output.name = name


def predict(network: keras.Model, windows: Windows, batch_size: int = 1024) -> Windows:
    """Forecast with Keras in float64 throughout (`Model.predict` casts its input to float32).

    Args:
        network: as `build_network` made it.
        windows: `(batch, input_length)`, NaN where unknown.
        batch_size: windows a forward pass.

    Returns:
        `(batch, horizon, quantiles)`.
    """
    batches = [
        network(ops.convert_to_tensor(windows[at : at + batch_size], "float64"), training=False)
        for at in range(0, len(windows), batch_size)
    ]
    return np.concatenate([ops.convert_to_numpy(batch) for batch in batches])
