"""Gradio's queue, bounded: it keeps each answer until it is fetched, and a session for each.

Nothing of the page goes through it. Where Gradio's client for programs is offered, it does.
"""

import time

import gradio as gr

MOST_EVENTS = 200
"""Events that are under way, or whose answers are not fetched yet."""
MOST_SESSIONS = 100
"""Sessions, a quarter of a megabyte each, that Gradio keeps for events outside the queue."""
KEPT_SECONDS = 60.0
"""For which an answer is kept."""


class GradioQueue:
    """What waits in the queue of a page."""

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
