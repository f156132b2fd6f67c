"""The forecast page and its HTTP API."""
