"""What model server, page and clients share on the wire: HTTP/1.1 within limits, gRPC messages."""
