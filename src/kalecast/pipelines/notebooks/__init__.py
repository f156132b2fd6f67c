"""Notebooks: read, checked and executed."""
