"""Clients of a model server and of the page."""
