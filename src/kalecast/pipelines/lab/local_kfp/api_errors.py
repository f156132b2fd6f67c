"""The response to a request that cannot be served."""

# The number that KFP puts beside an HTTP status: that of gRPC.
GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 413: 8, 415: 3, 501: 12, 503: 14, 507: 8}


class ApiError(Exception):
    """A request that is refused, with the HTTP status and the message for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def error_body(status: int, message: str) -> dict[str, object]:
    """The JSON with which KFP refuses."""
    code = GRPC_CODES.get(status, 13)
    return {"error": message, "code": code, "message": message, "details": []}
