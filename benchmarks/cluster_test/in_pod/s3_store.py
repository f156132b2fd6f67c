"""The test's model store: as much of S3 as reading a file takes.

    python s3_store.py FOLDER

The folder's files are pieces of one file, in the order of their names.
"""

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = 8333

NO_KEY = b"<Error><Code>NoSuchKey</Code><Message>There is no such file.</Message></Error>"


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of a key."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def do_GET(self) -> None:
        """A file."""
        content = self.files.get(self.path.partition("?")[0])
        body = NO_KEY if content is None else content
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing: what matters stands in the model server's log."""


def serve(folder: Path, port: int = PORT) -> ThreadingHTTPServer:
    """A server of the folder's file, and of one that is no model."""
    model = b"".join(path.read_bytes() for path in sorted(folder.glob("piece-*")))
    files = {
        "/kalecast/models/forecaster.onnx": model,
        "/kalecast/models/no-model.onnx": b"This is no model.",
        "/ready": b"",
    }
    return ThreadingHTTPServer(("", port), type("Files", (Handler,), {"files": files}))


if __name__ == "__main__":
    serve(Path(sys.argv[1])).serve_forever()
