"""Write `kafka.jars` anew after a change of version: python -m tapeline.cli.stack.lock_jars.

Kafka and its log binding are resolved apart: together, the resolver would let the log
library's own build settings choose the version of kafka-clients.
"""

import hashlib
from importlib.resources import files
from pathlib import Path

import jgo

KAFKA = "org.apache.kafka:kafka_2.13:4.2.1"
LOG_LIBRARY = ("org.apache.logging.log4j", "log4j-core")
LOG_BINDING = "log4j-slf4j-impl"
HEADER = """\
# The class path of the embedded broker: coordinate and SHA-256 of each jar.
# Written by `python -m tapeline.cli.stack.lock_jars`.
"""


def main() -> None:
    """Resolve, download to the user's own Maven repository, and write the digests."""
    artifacts = list(jgo.resolve(KAFKA))
    (log_library,) = (a for a in artifacts if (a.groupId, a.artifactId) == LOG_LIBRARY)
    binding = log_library.context.project(log_library.groupId, LOG_BINDING)
    artifacts.append(binding.at_version(log_library.version).artifact())
    lines = []
    for artifact in artifacts:
        digest = hashlib.sha256(Path(artifact.resolve()).read_bytes()).hexdigest()
        lines.append(f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} {digest}\n")
    target = Path(str(files("tapeline.cli.stack").joinpath("kafka.jars")))
    target.write_text(HEADER + "".join(sorted(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
