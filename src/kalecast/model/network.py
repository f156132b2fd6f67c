"""The network: raw histories in, quantile forecasts in the same unit out.

One global network serves series of any scale. Everything that depends on a series' level and
spread, and everything that unknown values need, happens inside the graph, in float64 at its two
ends: so the exported file takes raw history and no scaler can get lost in between.

The graph begins with simple seasonal forecasts, weighed by how well they did inside the window
itself, and measures in units of what they miss at each step. Two residual networks look at that
alone: one at the window as a whole, the other at each step ahead with the same weights for all.
Together they shift the mixture's weights, correct it and give the width of the prediction
intervals. Both begin at nothing, so that training starts from a sensible forecast.

No weight depends on the length of the window, of the horizon or of the season: what the networks
look at is brought to the same number of places first. So what was learnt on hours is a start for
weeks.
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
from kalecast.model.seasonal import (
    FAMILIES,
    MOST_ORIGINS,
    SeasonalForecasts,
    WeighForecasts,
    family,
)

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
PLACES = 24
"""To so many a season, a horizon or a window is brought for the network that sees it whole."""
HARMONICS = (1, 2, 3, 4)
"""Waves a season by which a step ahead is placed in it."""
CURVES = 24
"""Of which the network that sees the window as a whole makes what it says of each step."""
RECENT = (1, 2, 3, 5, 8)
"""Newest steps over which is averaged what was missed of late."""


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
    """Of the network that sees one step ahead."""
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
    logits, mixture, _, error, _ = weighed
    views = Views(settings.season, name="views")(filled, known, simple, *weighed)
    by_step, places, features = views
    whole = _whole_network(features, settings)
    steps = _step_network(by_step, places, whole, settings)
    free = _heads(places, whole, steps, simple.shape[1] + len(settings.quantiles))
    shift, median, free_gaps = ops.split(free, [simple.shape[1], simple.shape[1] + 1], axis=1)
    weights = ops.softmax(shift + ops.expand_dims(logits, -1), axis=1)
    mixture = ops.sum(simple * weights, axis=1)
    gaps = Gaps(name="gaps")(free_gaps)
    apart = FromMedian(settings.quantiles.index(0.5), name="from_median")(gaps)
    by_error = ops.expand_dims(error, 1)
    normalised = ops.expand_dims(mixture + median[:, 0] * error, 1) + apart * by_error
    forecast = Denormalise(name=OUTPUT_NAME)(normalised, level, spread, history)
    return keras.Model(history, forecast, name="forecaster")


@keras.saving.register_keras_serializable("kalecast")
class Views(layers.Layer):
    """What the two networks look at, in as many features whatever the lengths are.

    Of each step ahead: what the simple forecasts say of it and what their mixture missed there, in
    units of its expected error, and what it missed of late. Where the step lies, which is the same
    for all windows. Of the window as a whole: what is known of the steps of the first season ahead,
    in `PLACES` parts.

    Args:
        season: steps a season.

    Input shape:
        Filled values and known-flags `(batch, input_length)`; simple forecasts
        `(batch, kernels, horizon)`; what `WeighForecasts` returns.

    Output shape:
        `(batch, horizon, …)`, `(1, horizon, …)` and `(batch, …)`.
    """

    def __init__(self, season: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.season = season

    def call(self, filled: Any, known: Any, simple: Any, *weighed: Any) -> tuple[Any, Any, Any]:
        """Look."""
        logits, mixture, missed, error, overall = weighed
        horizon = mixture.shape[1]
        recent = self._recent(missed)
        # Many series have a floor or a ceiling, and intervals need not go far beyond what ever was.
        bounds = [bound(filled, axis=1, keepdims=True) for bound in (ops.min, ops.max)]
        units = [ops.expand_dims((at - mixture) / error, 1) for at in (*bounds, filled[:, -1:])]
        by_error = ops.expand_dims(error, 1)
        units += [
            (simple - ops.expand_dims(mixture, 1)) / by_error,
            ops.expand_dims(recent, -1) / by_error,
            ops.pad(missed / by_error, ((0, 0), (MOST_ORIGINS - missed.shape[1], 0), (0, 0))),
        ]
        clipped = ops.clip(ops.concatenate(units, axis=1), -10.0, 10.0)
        size = ops.log(error / overall + 1e-3)
        seen = ops.concatenate([ops.expand_dims(size, 1), clipped], axis=1)
        # What was missed one season ahead of each origin explains most of what was missed later.
        first = seen[:, :, : self.season]
        features = [
            ops.reshape(_in_places(first), (-1, seen.shape[1] * PLACES)),
            ops.mean(seen, axis=2),
            ops.clip(recent / overall, -10.0, 10.0),
            ops.clip(logits, -10.0, 0.0),
            ops.log(overall),
            _in_places(known),
            ops.zeros_like(overall) + self._about(known.shape[1], horizon),
        ]
        by_step = ops.transpose(seen, (0, 2, 1))
        return by_step, self._places(horizon), ops.concatenate(features, axis=1)

    def _recent(self, missed: Any) -> Any:
        """What the mixture missed of late, a season ahead: means over the newest steps."""
        season = min(self.season, missed.shape[2])
        newest = ops.reshape(missed[:, :, :season], (-1, missed.shape[1] * season))
        spans = (*RECENT, max(1, season // 2), season)
        shares = np.zeros((newest.shape[1], len(spans)), dtype="float32")
        for at, span in enumerate(min(span, len(shares)) for span in spans):
            shares[-span:, at] = 1.0 / span
        return ops.matmul(newest, ops.convert_to_tensor(shares))

    def _places(self, horizon: int) -> Any:
        """How far ahead each step lies, and where in its season."""
        step = np.arange(1, horizon + 1)
        turn = 2.0 * np.pi * step / self.season
        near = [np.exp(-step / reach) for reach in (1.0, 3.0, 10.0)]
        far = [np.log(step) / 4.0, np.minimum(step / self.season, 14.0) / 4.0, step / horizon]
        waves = [wave(turn * times) for times in HARMONICS for wave in (np.sin, np.cos)]
        return _constant(np.stack([*near, *far, *waves], axis=1)[None])

    def _about(self, length: int, horizon: int) -> Any:
        """The lengths themselves: `(1, 6)`."""
        seasons = length // self.season
        kind = np.zeros(len(FAMILIES))
        kind[family(self.season, seasons)] = 1.0
        return _constant(
            np.concatenate([kind, np.log([self.season, seasons, horizon]) / 4.0])[None]
        )

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "season": self.season}


def _in_places(values: Any) -> Any:
    """Means over `PLACES` equal parts of the last axis, which may have fewer steps."""
    steps = values.shape[-1]
    edges = np.linspace(0.0, steps, PLACES + 1)
    step = np.arange(steps)[:, None]
    shared = np.minimum(edges[1:], step + 1) - np.maximum(edges[:-1], step)
    return ops.matmul(values, _constant(np.maximum(shared, 0.0) * PLACES / steps))


def _constant(values: Any) -> Any:
    return ops.convert_to_tensor(values.astype("float32"))


def _whole_network(features: Any, settings: NetworkSettings) -> Any:
    state = layers.Dense(settings.width, activation="relu", name="whole_embed")(features)
    for block in range(settings.blocks):
        name = f"whole_block_{block + 1}"
        # Scale and shift of the normalisation are those of the layer that follows.
        inner = layers.LayerNormalization(center=False, scale=False, name=f"{name}_norm")(state)
        state = _residual(state, inner, settings.width, settings.dropout, name)
    return state


def _step_network(by_step: Any, places: Any, whole: Any, settings: NetworkSettings) -> Any:
    """The same network for each step ahead: `(batch, horizon, hour_width)`."""
    own = layers.Dense(settings.hour_width, use_bias=False, name="step_embed")(by_step)
    place = layers.Dense(settings.hour_width, use_bias=False, name="step_place")(places)
    context = ops.expand_dims(layers.Dense(settings.hour_width, name="step_context")(whole), 1)
    state = layers.Activation("relu", name="step_relu")(own + (context + place))
    return _residual(state, state, settings.hour_width, settings.dropout, "step_block")


def _heads(places: Any, whole: Any, steps: Any, count: int) -> Any:
    """What both networks say of each step ahead: `(batch, count, horizon)`, nothing at first.

    The network of the whole window says it as a sum of curves over the horizon, as in N-BEATS, of
    which the forms are learnt and so many steps long as the horizon is.
    """
    curves = layers.Dense(CURVES, activation="tanh", name="curves")(places)
    sizes = layers.Dense(count * CURVES, kernel_initializer="zeros", name="whole_head")(whole)
    by_whole = ops.matmul(curves, ops.reshape(sizes, (-1, CURVES, count)))
    by_one = layers.Dense(count, kernel_initializer="zeros", name="step_head")(steps)
    return ops.transpose(by_whole + by_one, (0, 2, 1))


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
