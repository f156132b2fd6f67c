"""The model file: its contract, its runtime, where it is kept, and what may stand in it."""
