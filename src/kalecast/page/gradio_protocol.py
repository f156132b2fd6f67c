"""Gradio's protocol (6.31): what its frontend sends and takes, and at which addresses.

It is Gradio's own and may change with each release; `tests/test_gradio_protocol.py` holds what
stands here against the Gradio that is installed. Gradio itself is not imported: the processes that
read large bodies do without it.
"""

import re
from dataclasses import dataclass
from typing import Any

API = "/gradio_api"

EVENT_PATH = f"{API}/run/predict"
"""Where the frontend sends an event that has no place in Gradio's queue."""
UPLOAD_PATH = f"{API}/upload"
PROGRESS_PATH = f"{API}/upload_progress"

# Of Gradio's addresses, which are many and more with each release, those that are needed: by the
# page in a browser, and by Gradio's client for programs.
PAGE_PATHS = r"/(?:config|theme\.css|favicon\.ico|(?:assets|static)/.+)?"
CLIENT_PATHS = rf"{API}/(?:info|queue/(?:join|data)|(?:run|call)/[\w/-]+)"
QUEUED_PATHS = re.compile(rf"{API}/(?:queue/join|call/[\w/-]+)")

PUBLIC_FILES = ("/assets/", "/static/", "/theme.css", "/favicon.ico")
"""How the addresses of files begin that are the same in every Gradio."""

UPLOAD_FIELD = "files"
"""The field of an upload's form that has the file."""

PROGRESS_TYPE, PROGRESS_DONE = "text/event-stream", 'data: {"msg": "done"}\n\n'
"""The type of an upload's progress, and the one event that ends it."""

Update = dict[str, Any]
"""Changes to one part of the page."""


@dataclass(frozen=True)
class Event:
    """What the frontend sends when a control was used."""

    function: Any
    """The number of what is to be done, as the page's configuration has it."""
    data: Any
    """A list of what the inputs hold."""

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "Event":
        """An event out of the JSON object that was sent; nothing in it has been checked."""
        return cls(fields.get("fn_index"), fields.get("data"))


def function_number(event: dict[str, Any]) -> int:
    """The number of an event that was added to a page."""
    number: int = event["id"]
    return number


def path_of(file: Any) -> Any:
    """The path in what a file input holds: what the answer to its upload was."""
    return file.get("path") if isinstance(file, dict) else file


def update(**changes: Any) -> Update:
    """Changes to one part of the page; none at all leave it as it is."""
    return {"__type__": "update", **changes}


def plotly(figure: str) -> dict[str, str]:
    """The value of a plot that Plotly draws.

    Args:
        figure: as JSON.
    """
    return {"type": "plotly", "plot": figure}


def choices(names: tuple[str, ...]) -> list[list[str]]:
    """The choices of a list, each with what it shows and what it stands for."""
    return [[name, name] for name in names]


def answer(updates: list[Update]) -> dict[str, Any]:
    """The answer to an event, with an update for each output."""
    return {"data": updates}


def failure(text: str) -> dict[str, str]:
    """The answer to an event that failed; its status is an error's."""
    return {"error": text}


def upload_answer(path: str) -> list[str]:
    """The answer to the upload of one file, whose path the next event sends."""
    return [path]
