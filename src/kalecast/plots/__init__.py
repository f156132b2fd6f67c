"""The pictures that notebooks and the report share."""
