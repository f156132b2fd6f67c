"""Logs: one JSON object a line on stderr, without what customers send."""

import json
import logging
from datetime import UTC, datetime

PLAIN = set(logging.makeLogRecord({}).__dict__) | {"message", "color_message"}
"""What every record has; anything else was given as `extra`."""


class JSONFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, process, message and extras; the stack where there is one."""
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in PLAIN},
        }
        if record.exc_info:
            content["stack"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Set up the root logger; uvicorn's own loggers pass their records on to it."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # It warns of each request that is no HTTP, which anyone can send at will.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # gRPC logs the stack of each answer whose client has hung up.
    logging.getLogger("grpc._cython.cygrpc").addFilter(
        lambda record: not record.getMessage().startswith("ExecuteBatchError")
    )
