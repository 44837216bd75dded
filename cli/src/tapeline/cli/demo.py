"""`tapeline demo`: a run played to its end in the terminal, and then put to the proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from tapeline.cli import proofs, summary
from tapeline.cli.configuration import Configuration
from tapeline.cli.plan import reporters_of
from tapeline.cli.runs import Run
from tapeline.cli.screen import progress_note, view
from tapeline.cli.session import Session
from tapeline.cli.sources import Source
from tapeline.cli.watch import Watch
from tapeline.runtime import clock

REDRAW_S = 1.0


def play(session: Session, watch: Watch, console: Console, title: str) -> None:
    """Shows the run until every reporter has finished the last slice."""
    wanted = set(reporters_of(session.run, session.configuration))
    watch.follower.start()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        drawn_s = 0.0

        def is_done() -> bool:
            nonlocal drawn_s
            if clock.monotonic_s() - drawn_s > REDRAW_S:
                drawn_s = clock.monotonic_s()
                rates = watch.rates.now()
                with watch.lock:
                    watch.check_progress()
                    live.update(
                        view(title, watch.tally, rates, progress_note(watch.tally, watch.started_s))
                    )
            return session.run.is_paced and watch.tally.finals >= wanted

        session.watch(is_done)


def run_demo(
    home: Path,
    run: Run,
    configuration: Configuration,
    source: Source,
    console: Console,
    *,
    is_dev: bool = False,
) -> dict[str, Any]:
    """Plays a run and returns its summary; `ok` in it says whether everything holds."""
    console.print(f"Playing {run.source}.", style="bold")
    if run.is_synthetic:
        console.print("These prices are synthetic: no market ever had them.", style="yellow")
    console.print(f"Run {run.name}, id {run.run_id}. Data in {home}.", style="dim")
    started_s = clock.monotonic_s()
    session = Session(
        home,
        run,
        configuration,
        feed_options=source.feed_options,
        is_dev=is_dev,
        say=lambda text: console.print(f"  starting {text}", style="dim"),
    )
    try:
        with session:
            facts = _played(session, source, console, started_s)
    except KeyboardInterrupt:
        session.store.end(run, "stopped")
        console.print(f"Stopped; no process is left, and {run.name} is kept: `tapeline runs`.")
        raise
    except BaseException:
        if session.stack.endpoints is None:
            # Without its servers there never was a run.
            session.store.delete(run.name)
        else:
            session.store.end(run, "failed")
        raise
    session.store.end(run, "complete" if facts["ok"] else "failed")
    return facts


def _played(session: Session, source: Source, console: Console, started_s: float) -> dict[str, Any]:
    """Plays to the end, stops the services, proves."""
    watch = Watch(session)
    try:
        play(session, watch, console, f"Tapeline · {session.run.source}")
    except KeyboardInterrupt:
        # A live run has no end of its own: Ctrl-C is how it is finished.
        if source.is_paced:
            raise
    console.print("  stopping the services", style="dim")
    session.supervisor.stop()
    watch.follower.stop()
    proof = proofs.prove(session, watch.records, console)
    return summary.facts_of(session.run, watch, proof, clock.monotonic_s() - started_s)
