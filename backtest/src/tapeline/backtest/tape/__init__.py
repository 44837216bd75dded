"""The tape: history that was pulled once and is kept as columns, shared by all later runs."""
