"""Programs that run in the test's own pods."""
