"""The model server: forecasts over HTTP and gRPC, many requests in one batch."""
