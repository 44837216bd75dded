"""The shell of risk: keys, verdicts, and the real shard around the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from risk_samples import (
    CONTEXT,
    NOW,
    SECOND,
    TOPIC_OF,
    account,
    decision,
    desk,
    flatten,
    group,
    instrument,
    mandate,
    mark,
    switch,
    venue,
)

from tapeline.contracts import topics
from tapeline.contracts.risk import Denial, DenialCode, TradingState
from tapeline.contracts.system import Consumed
from tapeline.risk import app
from tapeline.risk.core import RiskCore
from tapeline.risk.settings import RiskSettings
from tapeline.risk.state import RiskState
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Message, Raw, TopicPartition
from tapeline.runtime.log_reader import slicer
from tapeline.runtime.money import MoneyService
from tapeline.runtime.settings import SettingsError, load_settings
from tapeline.runtime.shard import Batch, Shard
from tapeline.runtime.signing import (
    KeyMissing,
    KeyRing,
    KeyUnsafe,
    OperatorKeys,
    Signer,
    create_secret,
    create_signer,
    seal_verdict,
    sign,
)


@pytest.fixture
def keys_dir(tmp_path: Path) -> Path:
    create_secret(tmp_path / "seal", "k1")
    create_signer(tmp_path / "private", tmp_path / "operators", "ada")
    return tmp_path


def service(keys_dir: Path | None, **values: Any) -> MoneyService[RiskState]:
    return app.make_service(load_settings(RiskSettings, keys_dir=keys_dir, **values))


# ---- keys


def test_approvals_are_sealed_and_nothing_else_is_touched(keys_dir: Path) -> None:
    made = service(keys_dir)
    ring = KeyRing.from_folder(keys_dir / "seal")
    approved = desk().approved(decision())
    assert made.check is not None
    with pytest.raises(app.NotSealed):
        made.check(approved)
    sealed = made.sign(approved)
    made.check(sealed)
    assert seal_verdict(sealed, ring) == ""
    assert made.sign(mark()) == mark()
    made.check(mark())


def test_control_is_verified_with_the_operators_keys(keys_dir: Path) -> None:
    verdict = service(keys_dir).verdict
    signed = sign(switch(TradingState.HALTED), Signer.from_file(keys_dir / "private" / "ada.key"))
    assert verdict(topics.CONTROL, signed) == ""
    forged = replace(signed, state=TradingState.ACTIVE)
    assert verdict(topics.CONTROL, forged) == "BAD_SIGNATURE"
    assert verdict(topics.CONTROL, switch(TradingState.HALTED)) == "UNSIGNED"


def test_while_there_is_no_key_decisions_are_told_so(keys_dir: Path) -> None:
    (keys_dir / "seal" / "k1.key").unlink()
    made = service(keys_dir, starts_without_key=True)
    assert made.verdict(topics.DECISIONS, decision()) == "KEY_MISSING"
    assert made.verdict(topics.MARKS, mark()) == ""


def test_a_flatten_that_could_not_be_sealed_is_told_so(keys_dir: Path) -> None:
    signer = Signer.from_file(keys_dir / "private" / "ada.key")
    made = service(keys_dir)
    assert made.verdict(topics.CONTROL, sign(flatten(), signer)) == ""
    (keys_dir / "seal" / "k1.key").unlink()
    made = service(keys_dir, starts_without_key=True)
    assert made.verdict(topics.CONTROL, sign(flatten(), signer)) == "KEY_MISSING"
    assert made.verdict(topics.CONTROL, flatten()) == "UNSIGNED"


def test_a_missing_or_unsafe_key_refuses_to_start(keys_dir: Path) -> None:
    key = keys_dir / "seal" / "k1.key"
    key.chmod(0o640)
    with pytest.raises(KeyUnsafe, match="0640"):
        service(keys_dir)
    with pytest.raises(KeyUnsafe):
        service(keys_dir, starts_without_key=True)
    key.unlink()
    with pytest.raises(KeyMissing, match="seal"):
        service(keys_dir)
    with pytest.raises(KeyMissing, match="operators"):
        service(keys_dir / "private", starts_without_key=True)


def test_the_folder_of_keys_must_be_named() -> None:
    with pytest.raises(SettingsError, match="TAPELINE_KEYS_DIR"):
        service(None)


def test_an_unknown_setting_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAPELINE_RISK_POSITION_LIMIT", "0.5")
    assert app.main() == 64
    told = capsys.readouterr().err
    assert "TAPELINE_RISK_POSITION_LIMIT" in told
    assert "Traceback" not in told


# ---- the shard as the drivers run it

PARTITIONS = {
    topics.CONTROL: 1,
    topics.CONFIG: 1,
    topics.MARKS: 2,
    topics.BARS: 2,
    topics.JOURNAL: 24,
}


class Line:
    """A shard of risk with its log in memory."""

    def __init__(self, made: MoneyService[RiskState]) -> None:
        self.made = made
        self.log: dict[TopicPartition, list[Raw]] = {}
        self.written: dict[str, list[Raw]] = {}
        self.journal: list[Consumed] = []
        self.shard = self.new_shard()

    def new_shard(self) -> Shard[RiskState]:
        names = tuple(spec.topic for spec in RiskCore.inputs)
        critical = frozenset(spec.topic for spec in RiskCore.inputs if spec.is_critical)
        return Shard(
            RiskCore(CONTEXT),
            CONTEXT,
            Intake(names, critical=critical, verdict=self.made.verdict),
            build_id="test",
            partitions=PARTITIONS,
            slot_partition=0,
            sign=self.made.sign,
            signed=self.made.signed,
        )

    def batch(self, records: Sequence[Any], now_ns: int) -> None:
        """Steps records as one batch and commits."""
        fresh: dict[TopicPartition, list[Raw]] = {}
        for record in records:
            place = (TOPIC_OF[record.AVRO], 0)
            offset = len(self.log.get(place, [])) + len(fresh.get(place, []))
            name = getattr(record, "decision_id", f"{place[0]}-{offset}")
            headers = (("event_id", name.encode()), ("producer", b"test"))
            raw = Raw(place[0], 0, offset, 0, b"k", encode(record), headers)
            fresh.setdefault(place, []).append(raw)
        for place, raws in fresh.items():
            self.log.setdefault(place, []).extend(raws)
        self.shard.step(Batch(now_ns, fresh), None)
        for message in self.shard.transaction(with_snapshot=False, watermark=None):
            self.keep(message)

    def keep(self, message: Message) -> None:
        if message.topic == topics.JOURNAL:
            self.journal.append(Decoder((Consumed.AVRO,)).decode(message.value))
            return
        kept = self.written.setdefault(message.topic, [])
        kept.append(
            Raw(
                message.topic,
                message.partition,
                len(kept),
                0,
                message.key,
                message.value,
                message.headers,
            )
        )

    def records(self, topic: str) -> list[Any]:
        decoder = Decoder(topics.TOPICS[topic].records)
        return [decoder.decode(raw.value) for raw in self.written.get(topic, [])]

    def recovered(self) -> Shard[RiskState]:
        shard = self.new_shard()
        own = [raw for name in RiskCore.outputs for raw in self.written.get(name, [])]
        outputs = shard.own_outputs(own)
        for consumed in self.journal:
            shard.absorb(consumed, slicer(self.log), outputs)
        return shard


WORLD = (instrument(), account(), mandate(), group(), venue())


def test_a_shard_seals_what_it_approves_and_finds_back_by_evolve_alone(keys_dir: Path) -> None:
    line = Line(service(keys_dir))
    line.batch(WORLD, NOW)
    line.batch([mark(), decision()], NOW)
    line.batch([decision(index=1, instrument_id="no"), decision()], NOW + SECOND)
    line.batch([], NOW + 20 * SECOND)
    (approved,) = line.records(topics.APPROVED_ORDERS)
    (denied,) = line.records(topics.RISK_EVENTS)
    assert seal_verdict(approved, KeyRing.from_folder(keys_dir / "seal")) == ""
    assert isinstance(denied, Denial)
    assert line.records(topics.PORTFOLIO)
    assert all(raw.partition == 0 for raw in line.written[topics.APPROVED_ORDERS])
    again = line.recovered()
    assert again.core.dump(again.state) == line.shard.core.dump(line.shard.state)
    assert again.digest == line.shard.digest


def test_a_run_without_a_key_is_replayed_with_the_denials_it_had(keys_dir: Path) -> None:
    secret = keys_dir / "seal" / "k1.key"
    kept = secret.read_text()
    secret.unlink()
    line = Line(service(keys_dir, starts_without_key=True))
    line.batch([*WORLD, mark(), decision()], NOW)
    (denied,) = line.records(topics.RISK_EVENTS)
    assert denied.code is DenialCode.KEY_MISSING
    secret.write_text(kept)
    secret.chmod(0o600)
    line.made = service(keys_dir)
    again = line.recovered()
    assert again.core.dump(again.state) == line.shard.core.dump(line.shard.state)


def test_operators_keys_are_taken_from_the_folder(keys_dir: Path) -> None:
    assert OperatorKeys.from_folder(keys_dir / "operators").problem() == ""


def test_an_incident_does_not_stop_a_recovery(keys_dir: Path) -> None:
    line = Line(service(keys_dir))
    line.batch([*WORLD, switch(TradingState.HALTED)], NOW)
    assert [record.code for record in line.records(topics.INCIDENTS)] == ["CONTROL_UNSIGNED"]
    again = line.recovered()
    assert again.digest == line.shard.digest
