"""Whole runs without Kafka: the cores and stages of a paced run, slice by slice, in one process."""
