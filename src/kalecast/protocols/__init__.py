"""What servers, page and clients share on the wire: sockets, HTTP/1.1 within limits, gRPC."""
