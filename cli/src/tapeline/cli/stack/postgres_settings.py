"""How the embedded PostgreSQL is initialized and set."""

AUTHENTICATION = (
    "--auth-local=scram-sha-256",
    "--auth-host=scram-sha-256",
    "--data-checksums",
    "--encoding=UTF8",
    # The builtin provider sorts alike on every machine.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # No socket file: its path has a length limit that deep folders exceed.
    "unix_socket_directories": "",
    "max_connections": "50",
    "shared_buffers": "64MB",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A week of files, each overwritten when its day comes again.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
