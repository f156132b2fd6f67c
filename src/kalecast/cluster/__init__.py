"""What runs on Kubernetes: its objects, releases of a model, and the tools around them."""
