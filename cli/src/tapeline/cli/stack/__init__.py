"""The local stack: real Kafka and real PostgreSQL as child processes, no container needed.

This package stays empty on purpose: the guard is started through it for every child, so
importing it must cost nothing. Take `LocalStack` from `tapeline.cli.stack.stack`.
"""
