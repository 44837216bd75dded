"""Approvals that risk never gave, and approvals that come again."""
