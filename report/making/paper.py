"""Print the page as a PDF."""

import logging
import re
from pathlib import Path

from weasyprint import HTML

FOR_SCREENS = re.compile("Ignored `|Invalid media type|Expected a media type")
"""What WeasyPrint says of style that only browsers need."""


def printed(page: str, path: Path) -> tuple[int, list[str]]:
    """Print a self-contained page; returns the number of pages, and what went wrong in words."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("weasyprint")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    # without a base, links to files stay relative to where the PDF lies
    document = HTML(string=page).render()
    document.write_pdf(path, custom_metadata=True)
    return len(document.pages), [line for line in messages if not FOR_SCREENS.match(line)]
