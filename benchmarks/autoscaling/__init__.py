"""The service in simulated time: how many replicas it takes."""
