"""Gradio (6.31) as far as it is private: its frontend's protocol, its queue, files and document.

It is Gradio's own and may change with each release; `tests/page/test_gradio_protocol.py` holds what
stands here against the Gradio that is installed. Gradio is imported by what changes it alone: the
processes that read large bodies do without it.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr


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

CHOOSE_AGAIN = "Please choose your file again."
"""The answer to a file that is none of an upload."""

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


MOST_EVENTS = 200
"""Events that are under way, or whose answers are not fetched yet."""
MOST_SESSIONS = 100
"""Sessions, a quarter of a megabyte each, that Gradio keeps for events outside the queue."""
KEPT_SECONDS = 60.0
"""For which an answer is kept."""

DOCUMENT = "frontend/index.html"
# Tags for shared links, which speak of Gradio, and a manifest that the page does not have.
HEAD_TAGS = re.compile(
    r"""<meta\s+(?:property="og:|name="twitter:)[^>]*>|<link rel="manifest"[^>]*>"""
)


class GradioQueue:
    """Gradio's queue, bounded: it keeps each answer until it is fetched, and a session for each.

    Nothing of the page goes through it. Where Gradio's client for programs is offered, it does.
    """

    def __init__(self, page: "gr.Blocks") -> None:
        page.state_session_capacity = MOST_SESSIONS
        self._page = page
        self._since: dict[str, float] = {}

    def is_full(self) -> bool:
        """Whether another event is one too many, once what no client waits for is dropped."""
        now = time.monotonic()
        queue = self._page._queue
        events = queue.pending_event_ids_session
        self._since = {session: self._since.get(session, now) for session in events}
        for session, since in self._since.items():
            ids = events[session]
            is_in_progress = any(one in queue.event_ids_to_events for one in ids)
            if not is_in_progress and (not ids or now - since > KEPT_SECONDS):
                del events[session]
                queue.pending_messages_per_session.pop(session, None)
        return sum(map(len, events.values())) >= MOST_EVENTS


def guard_files(page: "gr.Blocks") -> None:
    """Let requests that Gradio answers name no files at all.

    Gradio checks the paths in a request only after its own `launch()`, which a mounted page never
    calls: a request naming `/etc/passwd` as its upload would have it copied to where Gradio serves
    files from, and read. And it fetches addresses that a request names as files.
    """
    import gradio as gr
    from gradio.blocks import Block

    async def refuse(_: Block, named: str | Path | None) -> None:
        if named is not None:  # Gradio answers with this text alone
            raise gr.Error(CHOOSE_AGAIN, print_exception=False)

    page.has_launched = True  # Gradio's own check needs this
    Block.async_move_resource_to_block_cache = refuse


def replace_head_tags(tags: str) -> None:
    """Put tags into the document's head, in place of Gradio's own for shared links."""
    from gradio.routes import templates
    from jinja2 import ChoiceLoader, DictLoader

    loader = templates.env.loader
    if loader is None:
        raise RuntimeError("Expected Gradio to have templates.")
    source, _, _ = loader.get_source(templates.env, DOCUMENT)
    ours = HEAD_TAGS.sub("", source).replace("<head>", f"<head>{tags}", 1)
    templates.env.loader = ChoiceLoader([DictLoader({DOCUMENT: ours}), loader])
