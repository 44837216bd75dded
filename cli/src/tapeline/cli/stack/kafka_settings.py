"""The settings of the embedded broker and of its log."""

NODE_ID = 1
RETENTION_DAYS = 30

# What any single node of ours is set to, embedded or in a container.
_COMMON = {
    "process.roles": "broker,controller",
    "node.id": NODE_ID,
    "controller.listener.names": "CONTROLLER",
    # A single node: more copies are impossible, more internal partitions only cost files.
    "default.replication.factor": 1,
    "min.insync.replicas": 1,
    "num.partitions": 4,
    "offsets.topic.num.partitions": 4,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # A topic that was not declared is a mistake, here as in production.
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": 0,
    "log.message.timestamp.type": "LogAppendTime",
    "log.retention.hours": RETENTION_DAYS * 24,
    "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
    # After a crash the broker may register again only when its old session is over (9 s by
    # default). Shorter than 3 s, and a stall of a busy machine would fence a healthy broker.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
}

CONTAINER_SETTINGS = {
    **_COMMON,
    "inter.broker.listener.name": "INTERNAL",
    "listener.security.protocol.map": (
        "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
    ),
    "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:19093",
}

LOG4J = """\
status = error
name = tapeline-kafka
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = server.log
appender.file.filePattern = server.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""


def server_properties(client_port: int, controller_port: int) -> str:
    """The text of `server.properties` for these two loopback ports."""
    listeners = f"PLAINTEXT://127.0.0.1:{client_port}"
    settings = {
        **_COMMON,
        "log.dirs": "logs",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{controller_port}",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": listeners,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
