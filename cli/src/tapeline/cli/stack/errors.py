"""What can go wrong with the local stack, as one message a newcomer can act on.

StackError
├── PortBusy            another process listens where we must
├── FolderUnfit         the data folder is not writable, too full, or unreachable
├── AlreadyRunning      this folder is in use by a running stack
├── JarsUnavailable     Kafka's jars are neither cached nor downloadable
├── ServerFailed        a server ended or did not answer in time; carries its log's tail
└── ServerUnreachable   a server named in the environment does not answer
"""


class StackError(Exception):
    """A failure with its cause and its remedy; the command prints it without a traceback."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}\n{self.remedy}"


class PortBusy(StackError):
    """Another process listens on the port that was asked for."""


class FolderUnfit(StackError):
    """The data folder cannot hold the stack."""


class AlreadyRunning(StackError):
    """A stack already runs on this folder."""


class JarsUnavailable(StackError):
    """Kafka's jars are neither in the cache nor to be had from a repository."""


class ServerFailed(StackError):
    """A server ended, or gave no answer within its bound."""

    def __init__(self, cause: str, remedy: str, log_tail: str) -> None:
        super().__init__(f"{cause}\n{log_tail}".rstrip(), remedy)
        self.log_tail = log_tail


class ServerUnreachable(StackError):
    """An existing server, named in the environment, does not answer."""
