"""The network: its layers, its training, its export; Keras is used here and nowhere else."""
