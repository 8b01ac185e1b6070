"""doctor: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import attrs
import click

from expresso_persist.cli.base import Target, Terminal, plain, verb
from expresso_persist.errors import DatabaseAccessDenied, DatabaseUnavailable, SchemaMismatch
from expresso_persist.ops.doctor import DoctorContext, examine, failed_to_open, worst

__all__ = ["doctor"]

_MARKS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}


@click.command(short_help="Look for what is set up wrong.")
@verb
def doctor(target: Target, terminal: Terminal) -> None:
    """Look for what is set up wrong, and say how to mend it; nothing is changed.

    Exit code 1: there is a problem. Warnings alone are no failure.
    """
    try:
        with target.open() as store, terminal.working("Looking"):
            findings = examine(DoctorContext(store))
    except (SchemaMismatch, DatabaseAccessDenied, DatabaseUnavailable) as error:
        findings = failed_to_open(error)
    state = worst(findings)
    terminal.result(
        {"state": state, "checks": [attrs.asdict(finding) for finding in findings]},
        *(f"{_MARKS[each.state]}  {each.check}: {plain(each.text)}" for each in findings),
    )
    if state == "problem":
        click.get_current_context().exit(1)
