"""Objectives, and the alert rules and dashboard made from them."""
