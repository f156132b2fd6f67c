"""A picture to zoom into: in JupyterLab, in rendered HTML, and as an image where neither runs.

Nothing is loaded from elsewhere. JupyterLab draws the figure with the extension that the package
plotly brings along. An HTML page made of the notebook carries the drawing library itself, once
and compressed; until it has unpacked it, and wherever no script runs, it shows the image.
"""

import base64
import gzip
import hashlib
import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs

from kalecast.data.frequency import Frequency, frequency_of
from kalecast.plots.static import INK

MOST_POINTS = 20_000
"""Points a series beyond which only the smallest and largest values of short spans are drawn."""

CONFIG = {"responsive": True, "displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""}
"""Without the button that sends a figure, and so the data, to its maker's service."""

Floats = npt.NDArray[np.float64]


class Interactive:
    """A Plotly figure with a still image of the same; notebooks show whichever they can."""

    def __init__(self, figure: go.Figure, still: Figure) -> None:
        self.figure = figure
        self._image = _png(still)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            "application/vnd.plotly.v1+json": {**self.figure.to_plotly_json(), "config": CONFIG},
            "text/html": self._html(),
            "image/png": self._image,
            "text/plain": "an interactive figure",
        }

    def _html(self) -> str:
        drawn = self.figure.to_json().replace("</", "<\\/")
        place = "figure-" + hashlib.sha256(drawn.encode()).hexdigest()[:12]
        image = f'<img alt="The figure as an image" src="data:image/png;base64,{self._image}">'
        return PAGE.format(
            place=place,
            image=image,
            library=_packed_library(),
            figure=drawn,
            config=json.dumps(CONFIG),
        )


PAGE = """<div id="{place}">{image}</div>
<script type="module">
const packed = Uint8Array.from(atob("{library}"), letter => letter.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const library = {{exports: {{}}}};
new Function("module", "exports", "define", await new Response(unpacked).text())(
  library, library.exports, undefined);
const place = document.getElementById("{place}"), figure = {figure};
place.replaceChildren();
library.exports.newPlot(place, figure.data, figure.layout, {config});
</script>"""


def zoomable(frame: pd.DataFrame, frequency: str, still: Figure) -> Interactive:
    """Series from beginning to end: one at a time, chosen from a list, with a slider to zoom.

    Args:
        frame: tidy series, as many as a list is good for.
        frequency: theirs.
        still: what to show where nothing can be zoomed.
    """
    names = [str(name) for name in frame["unique_id"].unique()]
    figure = go.Figure(
        [_line(one, frequency_of(frequency)) for _, one in frame.groupby("unique_id", sort=False)],
        layout={
            "template": "plotly_white",
            "height": 460,
            "margin": {"l": 60, "r": 20, "t": 90, "b": 20},
            "showlegend": False,
            "xaxis": {"rangeslider": {"visible": True}, "rangeselector": {"buttons": _spans()}},
            "updatemenus": [{"buttons": _choices(names), "x": 0, "y": 1.3, "xanchor": "left"}],
        },
    )
    figure.update_traces(visible=False)
    figure.data[0].visible = True
    return Interactive(figure, still)


def thinned(values: Floats, most: int = MOST_POINTS) -> tuple[Floats, int]:
    """Values for a line of at most `most` points, or nearly, that shows every peak.

    Returns:
        The values themselves and 1; or for each span of so many steps its smallest and largest
        value, in the order in which they came, and half a span's steps.
    """
    if len(values) <= most:
        return values, 1
    span = 2 * -(-len(values) // most)
    padded = np.full(-(-len(values) // span) * span, np.nan)
    padded[: len(values)] = values
    spans = padded.reshape(-1, span)
    known = ~np.isnan(spans)
    smallest = np.where(known, spans, np.inf).argmin(axis=1)
    largest = np.where(known, spans, -np.inf).argmax(axis=1)
    both = np.sort(np.stack([smallest, largest], axis=1), axis=1)
    return np.take_along_axis(spans, both, axis=1).ravel(), span // 2


def _line(one: pd.DataFrame, grid: Frequency) -> go.Scatter:
    values, every = thinned(one["y"].to_numpy(dtype=np.float64))
    if grid.step is None:
        start = one["ds"].to_numpy()[:1]
        timestamps = grid.timestamps(start, every * np.arange(len(values)))
        where: dict[str, Any] = {"x": np.datetime_as_string(timestamps, "s").tolist()}
    else:
        # A start and a step instead of timestamps: a tenth of the size.
        milliseconds = every * grid.step.total_seconds() * 1000
        where = {"x0": one["ds"].iloc[0].isoformat(), "dx": milliseconds}
    # Single precision: half of that.
    return go.Scatter(
        name=str(one["unique_id"].iloc[0]),
        **where,
        y=values.astype(np.float32),
        line={"color": INK, "width": 1},
        hovertemplate="%{x|%a %d %b %Y %H:%M}<br>%{y}<extra></extra>",
    )


def _spans() -> list[dict[str, Any]]:
    spans = [("week", 7, "day"), ("month", 1, "month"), ("year", 1, "year")]
    buttons = [
        {"label": label, "count": count, "step": unit, "stepmode": "backward"}
        for label, count, unit in spans
    ]
    return [*buttons, {"label": "all", "step": "all"}]


def _choices(names: list[str]) -> list[dict[str, Any]]:
    axes = {"xaxis.autorange": True, "yaxis.autorange": True}
    return [
        {
            "label": name,
            "method": "update",
            "args": [{"visible": [other == name for other in names]}, axes],
        }
        for name in names
    ]


def _packed_library() -> str:
    """Plotly's JavaScript, compressed, as text."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _png(figure: Figure) -> str:
    """A figure as an image, taken out of what the notebook would show by itself."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=80)
    plt.close(figure)
    return base64.b64encode(image.getvalue()).decode()
