"""The model card: what a model file says of itself to those who decide whether to use it.

After Mitchell et al., Model Cards for Model Reporting (2019): what it is, what it is for, what it
learnt from, how it was judged, and where it fails. Markdown, written into the model file.
"""

import pandas as pd

from kalecast.artifact.contract import Contract
from kalecast.data.series import notes
from kalecast.data.steps import span_in_words, step_in_words, steps_in_words
from kalecast.evaluation.backtest import MODEL, calibration, mean_scores


def model_card(contract: Contract, table: pd.DataFrame, scores: pd.DataFrame) -> str:
    """The card of a model that was just judged.

    Args:
        contract: the model's.
        table: as `evaluation.backtest` returns it, with its notes on what was not judged.
        scores: as `evaluation.score_series` returns them.
    """
    data = contract.trained_on
    sections = [
        f"# {contract.name}, version {contract.version}",
        f"Forecasts the next {_steps(contract, contract.horizon)} of a series from its newest "
        f"{_steps(contract, contract.input_length)}, with quantiles "
        f"{_listed(contract.quantiles)}. Missing values are allowed; a history of "
        f"{_steps(contract, contract.minimum_history)} is the shortest that it was tried with.",
        "## For what",
        f"Series of the kind that it was trained on, a value every "
        f"{step_in_words(contract.frequency)}, {_rhythm(contract)}. It knows nothing of holidays, "
        "weather or prices, and nothing that a series' own past does not show.",
        "## Trained on",
        f"{data.get('series')} series, {data.get('values')} values, {data.get('first')} to "
        f"{data.get('last')} (digest `{contract.data_fingerprint}`), with Kalecast "
        f"{contract.library_version}.",
        "## Judged on",
        f"{_judged_on(table)}, none of which it was trained on.",
        *notes(table),
        _score_table(scores),
        "Actual values below each quantile: "
        + ", ".join(f"{share:.1%} below {at:g}" for at, share in calibration(table).items())
        + ".",
        "## Where it fails",
        _weakest(scores),
    ]
    return "\n\n".join(sections) + "\n"


def _steps(contract: Contract, count: int) -> str:
    """So many steps, and how long they last where their name does not say it: `96 quarter-hours
    (24 hours)`.
    """
    steps, span = (words(count, contract.frequency) for words in (steps_in_words, span_in_words))
    return steps if steps == span else f"{steps} ({span})"


def _rhythm(contract: Contract) -> str:
    if contract.season == 1:
        return "without a season"
    return f"with a rhythm of {_steps(contract, contract.season)}"


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _judged_on(table: pd.DataFrame) -> str:
    known = int(table["y"].notna().sum())
    return (
        f"{table['unique_id'].nunique()} series, {table['cutoff'].nunique()} cutoffs, "
        f"{known} known values from {table['ds'].min()} to {table['ds'].max()}"
    )


def _score_table(scores: pd.DataFrame) -> str:
    means = mean_scores(scores)
    header = ["", *(str(metric) for metric in means.columns)]
    rows = [header, ["---"] * len(header)]
    rows += [[str(name), *(f"{value:.3f}" for value in row)] for name, row in means.iterrows()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _weakest(scores: pd.DataFrame, most: int = 3) -> str:
    mase = scores[scores["metric"] == "mase"].dropna(subset=[MODEL]).nlargest(most, MODEL)
    series = ", ".join(
        f"`{name}` ({score:.2f})"
        for name, score in zip(mase["unique_id"], mase[MODEL], strict=True)
    )
    return f"Worst by MASE: {series}." if series else "No series has a MASE."
