"""How accurate, how large and how fast the forecaster is."""
