"""Logs: one JSON object a line on stderr, without what customers send."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from gunicorn.glogging import Logger


class JSONFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, process and message; the stack where there is one."""
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            content["stack"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False)


class GunicornLogger(Logger):
    """gunicorn's logger, its own handlers taken away in favour of the root's."""

    def setup(self, cfg: Any) -> None:
        """Pass records on to the root logger."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def configure(level: int = logging.INFO) -> None:
    """Set up the root logger; call before seldon-core's servers are made."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    handler.addFilter(_tells_nothing_private)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The wrapper logs each application's configuration at INFO, and requests at DEBUG.
    logging.getLogger("seldon_core").setLevel(max(level, logging.WARNING))


def _tells_nothing_private(record: logging.LogRecord) -> bool:
    """Drop the wrapper's record of each refusal, which quotes the value that was refused.

    Refusals are counted in the metrics.
    """
    return not (record.name == "seldon_core.wrapper" and record.funcName == "handle_invalid_usage")
