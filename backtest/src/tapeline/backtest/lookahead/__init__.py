"""Finds decisions that knew the future: runs strategies on truncated histories and compares."""
