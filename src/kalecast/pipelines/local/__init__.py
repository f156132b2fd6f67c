"""A compiled pipeline run on this machine, by KFP's local runner."""
