"""How good forecasts are: backtests, baselines, the gate, the model card."""
