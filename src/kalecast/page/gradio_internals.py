"""What is private in Gradio (6.31) and used here nevertheless: its queue, files and document.

`tests/test_gradio_protocol.py` holds it against the Gradio that is installed.
"""

import re
import time
from pathlib import Path

import gradio as gr
from gradio.blocks import Block
from gradio.routes import templates
from jinja2 import ChoiceLoader, DictLoader

from kalecast.page.upload_token import CHOOSE_AGAIN

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

    def __init__(self, page: gr.Blocks) -> None:
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


def guard_files(page: gr.Blocks) -> None:
    """Let requests that Gradio answers name no files at all.

    Gradio checks the paths in a request only after its own `launch()`, which a mounted page never
    calls: a request naming `/etc/passwd` as its upload would have it copied to where Gradio serves
    files from, and read. And it fetches addresses that a request names as files.
    """
    page.has_launched = True  # Gradio's own check needs this
    Block.async_move_resource_to_block_cache = _refused


async def _refused(_: Block, named: str | Path | None) -> None:
    """Refuse the path that a request names.

    Raises:
        gr.Error: there is one; Gradio answers with this text alone.
    """
    if named is not None:
        raise gr.Error(CHOOSE_AGAIN, print_exception=False)


def replace_head_tags(tags: str) -> None:
    """Put tags into the document's head, in place of Gradio's own for shared links."""
    loader = templates.env.loader
    if loader is None:
        raise RuntimeError("Expected Gradio to have templates.")
    source, _, _ = loader.get_source(templates.env, DOCUMENT)
    ours = HEAD_TAGS.sub("", source).replace("<head>", f"<head>{tags}", 1)
    templates.env.loader = ChoiceLoader([DictLoader({DOCUMENT: ours}), loader])
