"""Measurements of the product, as its users would make them."""
