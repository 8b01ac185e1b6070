"""Writes docs/cli.md from the commands themselves: `python tools/cli_docs.py`."""

from __future__ import annotations

from pathlib import Path

import click

from expresso_persist.cli import cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
INTRODUCTION = """\
# The command line

<!-- Written by tools/cli_docs.py; edit the help texts in src/expresso_persist/cli instead. -->

`expresso-persist`, `python -m expresso_persist` and (inside a Flask application that mounted
the library) `flask expresso` have the same verbs; `serve` is only in the first two.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it failed, or `verify` found something; one sentence on standard error says what |
| 2 | the command was not understood |
| 3 | done, but some values were put into quarantine and want a look |

Results go to standard output, everything else to standard error. With `--json` the result is
one JSON value, and a failure is `{"success": false, "error", "code", "details"}` on standard
error; a command that was not understood (exit code 2) is answered in words.
`EXPRESSO_PERSIST_DEBUG=1` shows the traceback of an unforeseen error.
"""


def sections(command: click.Command, path: tuple[str, ...]) -> list[str]:
    name = " ".join(path)
    parent: click.Context | None = None
    for part in path[:-1]:
        parent = click.Context(click.Group(), info_name=part, parent=parent)
    context = click.Context(
        command,
        info_name=path[-1],
        parent=parent,
        max_content_width=90,
        terminal_width=90,
        help_option_names=["-h", "--help"],
    )
    text = [f"## `{name}`\n\n```text\n{command.get_help(context).strip()}\n```\n"]
    if isinstance(command, click.Group):
        for child in command.commands.values():
            text += sections(child, (*path, child.name or ""))
    return text


def page() -> str:
    return "\n".join([INTRODUCTION, *sections(cli, ("expresso-persist",))])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
