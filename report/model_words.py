"""What the model's chapter calls forecasts and series."""

MODEL = "Kalecast"
GRIDS = "_demand"
"""How the names of series end that are of a grid, and not of a home."""

CONTENDERS = {
    "SeasonalNaiveDay": "same hour of yesterday",
    "SeasonalNaiveWeek": "same hour of last week",
    "MSTL-AutoETS": "MSTL, AutoETS",
    "MSTL-AutoARIMA": "MSTL, AutoARIMA",
}


def contender(name: str) -> str:
    """A forecast's name as people read it."""
    return CONTENDERS.get(name, name)


def percent(share: float, digits: int = 1) -> str:
    """A share such as `78.0 %`."""
    return f"{100 * share:.{digits}f} %"


def less(ours: float, theirs: float) -> str:
    """By how many percent the first is smaller than the second."""
    return f"{100 * (1 - ours / theirs):.0f} %"
