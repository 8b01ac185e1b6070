"""The ``expresso-persist`` command: arguments and words only; the verbs live elsewhere.

Exit codes: 0 done; 1 it failed, or ``verify`` found something; 2 the command was not
understood; 3 done, but some values were put into quarantine and want a look.
"""

from __future__ import annotations

from collections.abc import Callable

import click

from expresso_persist.cli import archives, backups, data, doctor, past, serve, tenants, tokens
from expresso_persist.cli.base import HOST_STORE, Verbs
from expresso_persist.store import Store

__all__ = ["cli", "host_group", "main"]

_VERBS: tuple[click.Command, ...] = (
    data.init,
    data.import_,
    data.export,
    data.status,
    data.verify,
    past.history,
    past.undo,
    backups.backup,
    tokens.token,
    doctor.doctor,
    tenants.tenant,
    tenants.security,
)
for _archive in (archives.export, archives.import_):
    backups.backup.add_command(_archive)


@click.group(cls=Verbs)
@click.version_option(package_name="expresso-persist", prog_name="expresso-persist")
def cli() -> None:
    """Keep a coffee event's setup in a database instead of the browser.

    Start with `expresso-persist serve --demo`. Every verb takes --database; without it
    DATABASE_URL is used, and without that sqlite:///expresso.db in this folder.
    """


for _verb in (serve.serve, *_VERBS):
    cli.add_command(_verb)


def host_group(store: Callable[[], Store], name: str = "expresso") -> click.Group:
    """The same verbs for a host application's own command, such as ``flask expresso``.

    Args:
        store: Called when a verb needs the host's store; ``--database`` goes before it.
        name: The group's name.
    """

    @click.group(name, cls=Verbs)
    @click.pass_context
    def group(ctx: click.Context) -> None:
        """Look after the event's data in this application's database."""
        ctx.meta[HOST_STORE] = store

    for verb in _VERBS:  # no `serve`: the host is the server
        group.add_command(verb)
    return group


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="expresso-persist")
