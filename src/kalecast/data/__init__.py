"""From files and tables to tidy time series, and to what a network trains on."""
