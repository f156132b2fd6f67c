"""The model server beside others."""
