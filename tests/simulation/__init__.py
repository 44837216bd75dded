"""Risk, execution and the venue in one process, driven by one seed; see docs/testing.md."""
