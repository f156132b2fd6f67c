"""Attacks, floods and benign requests at the gateway."""
