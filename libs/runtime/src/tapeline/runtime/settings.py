"""Settings of every service, read from the environment; what is not understood refuses to start.

Names: TAPELINE_<FIELD> for what all services share, TAPELINE_<SERVICE>_<FIELD> for a service's own
(TAPELINE_RISK_..., TAPELINE_MARKET_DATA_...). A service checks the shared names and its own; names
of the other services are left to them, and a TAPELINE_ variable that is nobody's is an error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tapeline.contracts.orders import Mode
from tapeline.contracts.topics import TOPICS
from tapeline.runtime import exits

PREFIX: Final = "TAPELINE_"
PLAIN_NAMES: Final = {
    "kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "database_url": "DATABASE_URL",
}
"""Fields that are also read under the name the rest of the world uses."""
SERVICES: Final = tuple(
    sorted({writer for topic in TOPICS.values() for writer in topic.writers} - {"all"})
)
OTHER_PREFIXES: Final = ("BACKTEST", "TEST", "BENCH", "STACK")
OTHER_NAMES: Final = ("TAPELINE_DATA_DIR", "TAPELINE_HOME")
"""Read by the command line and the tests, not by services."""
SECRET_FIELDS: Final = ("database_url",)
"""Never repeated in a message: they hold a password."""


class SettingsError(exits.Failure):
    """A setting is unknown, missing or wrong."""

    exit_code = exits.USAGE


def _listed(value: object) -> object:
    """A list as people write it (0,1,2) or as JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _parsed(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


IntList = Annotated[tuple[int, ...], BeforeValidator(_listed)]
"""In the environment: 0,1,2"""
TextList = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""In the environment: a,b,c"""
PacedSources = Annotated[dict[str, dict[str, tuple[str, ...]]], BeforeValidator(_parsed)]
"""topic -> partition as text -> sources whose watermarks a complete slice needs; JSON"""


class _Environment(PydanticBaseSettingsSource):
    """Values of the environment under the two prefixes, as text: the fields' types parse them."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        for name in _variables_of(self.settings_cls, field_name):
            if os.environ.get(name, "") != "":
                return os.environ[name], field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class KafkaSettings(BaseSettings):
    """How to reach Kafka."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, validate_default=False)
    service: ClassVar[str] = ""
    """name of the service, such as market-data; a service's class sets it"""

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    """host:port, several separated by commas; also read from KAFKA_BOOTSTRAP_SERVERS"""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_sasl_password_file: Path | None = None
    """file with the password alone; a final newline is ignored"""
    kafka_ssl_ca_file: Path | None = None
    """PEM; None: the system's authorities"""
    kafka_ssl_cert_file: Path | None = None
    kafka_ssl_key_file: Path | None = None
    kafka_wait_s: float = Field(default=30.0, ge=0.0, le=600.0)
    """how long a start waits for a broker that does not answer"""
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$", max_length=80)
    """in front of every topic and consumer group; each run has its own"""

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        for address in value.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError("expected host:port, several separated by commas")
        return value

    @field_validator(
        "kafka_sasl_password_file",
        "kafka_ssl_ca_file",
        "kafka_ssl_cert_file",
        "kafka_ssl_key_file",
    )
    @classmethod
    def _is_readable(cls, value: Path | None) -> Path | None:
        if value is not None and not (value.is_file() and os.access(value, os.R_OK)):
            raise ValueError("no such file, or it is not readable for this user")
        return value

    @model_validator(mode="after")
    def _has_what_its_protocol_needs(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL"):
            if not self.kafka_sasl_username:
                raise ValueError(f"{PREFIX}KAFKA_SASL_USERNAME is needed for SASL")
            if self.kafka_sasl_password_file is None:
                raise ValueError(f"{PREFIX}KAFKA_SASL_PASSWORD_FILE is needed for SASL")
        if (self.kafka_ssl_cert_file is None) != (self.kafka_ssl_key_file is None):
            raise ValueError(f"{PREFIX}KAFKA_SSL_CERT_FILE and _KEY_FILE belong together")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then our environment; no .env files, no secrets folder."""
        return (init_settings, _Environment(settings_cls))


class ServiceSettings(KafkaSettings):
    """What every service reads; a service derives its own class and sets `service`."""

    run_id: str = Field(default="local", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """the run all ids are derived under"""
    mode: Mode = Mode.PAPER
    """PAPER, SHADOW, BACKTEST or LIVE; live orders need each account's own signed switch"""
    instance_id: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """Name of this replica among those of its service, such as 0. A process that is started again
    under its name gets its partitions back at once; without one the group waits until the dead
    member's session is over. Two living processes must not share one."""
    build_id: str = Field(default="", validate_default=True)
    """empty: the version of the installed package"""
    log_dir: Path | None = None
    """folder of rotated log files; None: standard error only"""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_json: bool = True
    """False: lines for people"""
    health_host: str = "127.0.0.1"
    """containers set 0.0.0.0"""
    health_port: int = Field(default=0, ge=0, le=65535)
    """0: a free one, see health_port_file"""
    health_port_file: Path | None = None
    """where the port in use is written"""
    is_dev: bool = False
    """debug logging for people"""
    is_paced: bool = False
    """True: step complete slices behind watermarks, at the data's own pace"""
    watchdog_s: float = Field(default=15.0, ge=2.0, le=300.0)
    """without progress for that long the process ends"""
    shards: IntList = ()
    """money path only: the shards of this process, such as 0,1"""
    keys_dir: Path | None = None
    switch_dir: Path | None = None
    """money path only: a file `halt` in it pulls the kill switch, and the latch is kept in it;
    None: only the signal and the control topic pull it"""
    paced_sources: PacedSources = Field(default_factory=dict)
    database_url: str = Field(default="", repr=False)
    """PostgreSQL, TLS in the URL (?sslmode=verify-full&sslrootcert=...); also from DATABASE_URL"""

    @model_validator(mode="after")
    def _is_paced_on_paper_alone(self) -> Self:
        if self.is_paced and self.mode is Mode.LIVE:
            raise ValueError("a paced run cannot be live: a venue has a clock of its own")
        return self

    @field_validator("build_id")
    @classmethod
    def _is_a_build(cls, value: str) -> str:
        return value or _package_version(cls.service)

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: str) -> str:
        if value and not value.startswith(
            ("postgresql://", "postgres://", "postgresql+psycopg://")
        ):
            raise ValueError("expected postgresql://user:password@host:port/database")
        return value

    @field_validator("shards")
    @classmethod
    def _are_distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or any(shard < 0 for shard in value):
            raise ValueError("expected distinct numbers from 0")
        return value


Settings = TypeVar("Settings", bound=KafkaSettings)


def load_settings(cls: type[Settings], **values: Any) -> Settings:
    """Settings from the environment, `values` in front; raises one SettingsError for all faults."""
    problems = _unknown_variables(cls, os.environ)
    try:
        settings = cls(**values)
    except ValidationError as error:
        problems += [_explained(cls, detail) for detail in error.errors()]
    if len(problems) == 1:
        raise SettingsError(*problems[0])
    if problems:
        lines = "\n".join(f"- {problem} {remedy}" for problem, remedy in problems)
        raise SettingsError(lines, f"Correct these {len(problems)} settings and start again.")
    return settings


def main_guard(run: Callable[[], int | None]) -> int:
    """Runs a service and returns its exit code: a failure is one message, a bug a logged traceback.

    Typed failures are those with a `remedy`; an `exit_code` of theirs is honored.
    """
    try:
        return run() or exits.OK
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except Exception as error:
        remedy = getattr(error, "remedy", None)
        if isinstance(remedy, str):
            cause = getattr(error, "cause", None) or str(error)
            sys.stderr.write(f"{cause}\n{remedy}\n")
            return int(getattr(error, "exit_code", exits.USAGE))
        logging.getLogger("tapeline").exception("unexpected_error")
        return exits.INTERNAL


def _package_version(service: str) -> str:
    for name in (f"tapeline-{service}", "tapeline-runtime"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _variables_of(cls: type[BaseSettings], field: str) -> tuple[str, ...]:
    """Names under which a field is read, in order."""
    if field in ServiceSettings.model_fields:
        plain = PLAIN_NAMES.get(field)
        return (f"{PREFIX}{field.upper()}", *([plain] if plain else ()))
    return (f"{_own_prefix(getattr(cls, 'service', ''))}{field.upper()}",)


def _own_prefix(service: str) -> str:
    return f"{PREFIX}{service.upper().replace('-', '_')}_" if service else PREFIX


def _unknown_variables(
    cls: type[KafkaSettings], environment: Mapping[str, str]
) -> list[tuple[str, str]]:
    own = {_variables_of(cls, field)[0] for field in cls.model_fields}
    shared = {_variables_of(cls, field)[0] for field in ServiceSettings.model_fields}
    known = own | shared | set(OTHER_NAMES)
    foreign = tuple(
        _own_prefix(name) for name in (*SERVICES, *OTHER_PREFIXES) if name != cls.service
    )
    problems = []
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known or name.startswith(foreign):
            continue
        near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
        remedy = f"Did you mean {near[0]}?" if near else f"Remove {name}."
        problems.append((f"{name} is not a setting of {cls.service or 'Tapeline'}.", remedy))
    return problems


def _explained(cls: type[KafkaSettings], detail: ErrorDetails) -> tuple[str, str]:
    """One fault of pydantic's as a sentence that names the variable, and what to do."""
    reason = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return f"{reason}.", "Set what is missing."
    field = str(detail["loc"][0])
    if field not in cls.model_fields:
        return f"{field} is not a setting.", f"Remove {field}."
    names = _variables_of(cls, field)
    name = next((name for name in names if os.environ.get(name)), names[0])
    if detail["type"] == "missing":
        return f"{name} is not set.", f"Set {name}."
    given = "" if field in SECRET_FIELDS else f" is {detail['input']!r}"
    return f"{name}{given}: {reason}.", f"Correct {name}, or remove it to use the default."
