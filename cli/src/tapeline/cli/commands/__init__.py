"""The commands of `tapeline`, one module a kind."""
