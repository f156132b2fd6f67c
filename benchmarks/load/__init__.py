"""Thousands of clients at once."""
