"""The network: raw histories in, quantile forecasts in the same unit out.

One global network serves series of any scale. Everything that depends on a series' level and
spread, and everything that unknown values need, happens inside the graph, in float64 at its two
ends: so the exported file takes raw history and no scaler can get lost in between.

The graph begins with simple seasonal forecasts, weighed by how well they did inside the window
itself, and measures in units of what they miss at each hour. Two residual networks look at that
alone: one at the window as a whole, the other at each hour ahead with the same weights for all.
Together they shift the mixture's weights, correct it and give the width of the prediction
intervals. Both begin at nothing, so that training starts from a sensible forecast.
"""

import io
import tempfile
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kalecast.artifact.contract import INPUT_NAME, OUTPUT_NAME, ascending_probabilities
from kalecast.artifact.runtime import Windows
from kalecast.model.backend import keras, layers, ops
from kalecast.model.normalisation import Denormalise, FillGaps, Normalise
from kalecast.model.parameters import check_parameters
from kalecast.model.quantiles import FromMedian, Gaps
from kalecast.model.seasonal import MixForecasts, SeasonalForecasts, WeighForecasts

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)


@dataclass(frozen=True)
class NetworkSettings:
    """What decides the network's shape.

    `input_length` must be a multiple of `season`, four seasons or more; `quantiles` ascend and
    hold 0.5.
    """

    input_length: int = 504
    horizon: int = 48
    season: int = 24
    quantiles: tuple[float, ...] = QUANTILES
    width: int = 256
    """Of the network that sees the window as a whole."""
    hour_width: int = 32
    """Of the network that sees one hour ahead."""
    blocks: int = 2
    dropout: float = 0.3

    def __post_init__(self) -> None:
        check_parameters(**vars(self))
        if 0.5 not in self.quantiles or not ascending_probabilities(self.quantiles):
            raise ValueError(
                "Expected quantiles between 0 and 1, ascending, with 0.5 among them, received: "
                f"{list(self.quantiles)}"
            )


def build_network(settings: NetworkSettings) -> keras.Model:
    """An untrained network; it forecasts what its simple seasonal forecasts agree on.

    Returns:
        A model from `history` `(batch, input_length)` to `forecast`
        `(batch, horizon, quantiles)`, both float64.
    """
    history = keras.Input((settings.input_length,), dtype="float64", name=INPUT_NAME)
    values, known, level, spread = Normalise(name="normalise")(history)
    filled, known = FillGaps(settings.season, name="fill_gaps")(values, known)
    simple, residuals, tried = SeasonalForecasts(
        settings.season, settings.horizon, name="seasonal_forecasts"
    )(filled, known)
    weighed = WeighForecasts(name="weigh_forecasts")(simple, residuals, tried)
    smallest, largest = (bound(filled, axis=1, keepdims=True) for bound in (ops.min, ops.max))
    start = Start(simple, smallest, largest, *weighed)
    kernels, median, free = _corrections(start, known, settings)
    mixture = MixForecasts(settings.season, name="mix_forecasts")(simple, kernels)
    gaps = Gaps(name="gaps")(free)
    apart = FromMedian(settings.quantiles.index(0.5), name="from_median")(gaps)
    error = ops.expand_dims(start.error, 1)
    normalised = ops.expand_dims(mixture + median * start.error, 1) + apart * error
    forecast = Denormalise(name=OUTPUT_NAME)(normalised, level, spread)
    return keras.Model(history, forecast, name="forecaster")


@dataclass(frozen=True)
class Start:
    """Where the networks start from, as `WeighForecasts` describes it; the window's bounds."""

    simple: Any
    smallest: Any
    largest: Any
    logits: Any
    mixture: Any
    missed: Any
    error: Any
    overall: Any


def _corrections(start: Start, known: Any, settings: NetworkSettings) -> tuple[Any, Any, Any]:
    """Weights of the simple forecasts; median and free gaps in units of the expected error."""
    horizon, count = settings.horizon, len(settings.quantiles)
    by_hour = _by_hour(start)
    whole = _whole_network(_features(by_hour, start, known, settings), settings)
    hours = _hour_network(by_hour, whole, settings)
    kernels, ahead = start.simple.shape[1], -(-horizon // settings.season)
    shift = layers.Dense(kernels * ahead, kernel_initializer="zeros", name="shift_weights")(whole)
    logits = ops.reshape(shift, (-1, kernels, ahead)) + ops.expand_dims(start.logits, -1)
    free = layers.Dense(horizon * count, kernel_initializer="zeros", name="whole_head")(whole)
    by_one = layers.Dense(count, kernel_initializer="zeros", name="hour_head")(hours)
    free = ops.reshape(free, (-1, count, horizon)) + ops.transpose(by_one, (0, 2, 1))
    return ops.softmax(logits, axis=1), free[:, 0], free[:, 1:]


def _by_hour(start: Start) -> Any:
    """What is known of each hour ahead, in units of its expected error: `(batch, …, horizon)`."""
    error = ops.expand_dims(start.error, 1)
    apart = (start.simple - ops.expand_dims(start.mixture, 1)) / error
    size = ops.log(start.error / start.overall + 1e-3)
    # Many series have a floor or a ceiling, and intervals need not go far beyond what ever was.
    room_below = (start.mixture - start.smallest) / start.error
    room_above = (start.largest - start.mixture) / start.error
    return ops.concatenate(
        [
            ops.expand_dims(size, 1),
            ops.expand_dims(ops.clip(room_below, -10.0, 10.0), 1),
            ops.expand_dims(ops.clip(room_above, -10.0, 10.0), 1),
            ops.clip(apart, -10.0, 10.0),
            ops.clip(start.missed / error, -10.0, 10.0),
        ],
        axis=1,
    )


def _features(by_hour: Any, start: Start, known: Any, settings: NetworkSettings) -> Any:
    """What the network that sees the window as a whole looks at: `(batch, features)`."""
    # What was missed one season ahead of each origin explains most of what was missed later.
    season, sizes = min(settings.season, settings.horizon), 3 + start.simple.shape[1]
    ahead, missed = by_hour[:, :sizes], by_hour[:, sizes:, :season]
    seasons = settings.input_length // settings.season
    return ops.concatenate(
        [
            ops.reshape(ahead, (-1, sizes * settings.horizon)),
            ops.reshape(missed, (-1, missed.shape[1] * season)),
            ops.clip(start.logits, -10.0, 0.0),
            ops.log(start.overall),
            ops.mean(ops.reshape(known, (-1, seasons, settings.season)), axis=2),
        ],
        axis=1,
    )


def _whole_network(features: Any, settings: NetworkSettings) -> Any:
    state = layers.Dense(settings.width, activation="relu", name="whole_embed")(features)
    for block in range(settings.blocks):
        name = f"whole_block_{block + 1}"
        # Scale and shift of the normalisation are those of the layer that follows.
        inner = layers.LayerNormalization(center=False, scale=False, name=f"{name}_norm")(state)
        state = _residual(state, inner, settings.width, settings.dropout, name)
    return state


def _hour_network(by_hour: Any, whole: Any, settings: NetworkSettings) -> Any:
    """The same network for each hour ahead: `(batch, horizon, hour_width)`."""
    own = layers.Dense(settings.hour_width, name="hour_embed")(ops.transpose(by_hour, (0, 2, 1)))
    context = layers.Dense(settings.hour_width, name="hour_context")(whole)
    state = layers.Activation("relu", name="hour_relu")(own + ops.expand_dims(context, 1))
    return _residual(state, state, settings.hour_width, settings.dropout, "hour_block")


def _residual(state: Any, inner: Any, width: int, dropout: float, name: str) -> Any:
    inner = layers.Dense(width, activation="relu", name=f"{name}_in")(inner)
    inner = layers.Dropout(dropout, name=f"{name}_dropout")(inner)
    inner = layers.Dense(width, name=f"{name}_out")(inner)
    return layers.Add(name=f"{name}_add")([state, inner])


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
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def to_onnx(network: keras.Model) -> bytes:
    """A network as ONNX, with a free batch axis.

    Not yet a model file: `contract.write_contract` makes it one.
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
