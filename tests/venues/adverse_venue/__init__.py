"""A venue that does the worst: an exchange with a ledger of its own, and an adapter to it."""
