"""What all verbs share: which store, how to print, how to fail."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import getpass
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import attrs
import click
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from expresso_persist import adoption
from expresso_persist.backups.rotation import SAFETY_TYPES
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.db.sqlite_journal import refuse_without_file
from expresso_persist.errors import (
    BackupNotFound,
    DatabaseUnavailable,
    ExpressoPersistError,
    InvalidInput,
    NotFound,
    TablesMissing,
)
from expresso_persist.store import Store, default_url, lost_data

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "HOST_STORE",
    "NEEDS_A_LOOK",
    "NO_BACKUP_YET",
    "Target",
    "Terminal",
    "Verbs",
    "invocation",
    "may_write",
    "plain",
    "resolve",
    "verb",
]

HOST_STORE = "expresso_persist.store"
"""Key in ``click.Context.meta`` of a host's function that returns its store."""
NEEDS_A_LOOK = 3
NO_BACKUP_YET = "There is no backup yet; `backup create` makes one."
_NONE_TO_CHOOSE = (
    "No backup is the latest: those that there are failed, were damaged, or were made before an "
    "import or a restore. `backup list` shows them; name one by its id, or make one: "
    "`backup create`."
)
_JSON = "expresso_persist.json"

P = ParamSpec("P")
T = TypeVar("T")


def plain(text: object) -> str:
    """Text from the data as one line without control characters: it cannot move the cursor."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in str(text)
    )


def invocation() -> str:
    """What to type, from where the user is, to call this command again.

    After ``./serve`` in a clone that is ``.venv/bin/expresso-persist``: no PATH has it.
    """
    name, script = "expresso-persist", Path(sys.argv[0])
    if script.parts[-2:] == ("expresso_persist", "__main__.py"):
        return "python -m expresso_persist"
    if script.name != name or not script.exists():
        return name
    found = shutil.which(name)
    if found is not None and script.samefile(found):
        return name
    below = os.path.relpath(script)
    return shlex.quote(str(script) if below.startswith(os.pardir) else below)


class Failure(click.ClickException):
    """A failure in one sentence, or as JSON for scripts."""

    exit_code = 1

    def __init__(self, error: ExpressoPersistError, *, as_json: bool) -> None:
        """Wrap the library's error."""
        super().__init__(error.message)
        self.error = error
        self.as_json = as_json

    def show(self, file: IO[Any] | None = None) -> None:
        """Print to standard error; standard output is for results."""
        problems = [attrs.asdict(problem) for problem in self.error.problems]
        if self.as_json:
            answer = {
                "success": False,
                "error": self.message,
                "code": self.error.code,
                "details": problems,
            }
            click.echo(json.dumps(answer, ensure_ascii=False), err=True)
            return
        click.echo(f"Error: {plain(self.message)}", err=True)
        for problem in problems[:20]:
            click.echo(f"  {plain(problem['path'])}: {plain(problem['message'])}", err=True)


class Verbs(click.Group):
    """A group whose verbs never end in a traceback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a group; its verbs answer to -h too."""
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb and turn what it raises into a sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("EXPRESSO_PERSIST_DEBUG"):
                raise
            raise Failure(_told(error), as_json=ctx.meta.get(_JSON, False)) from error


def _told(error: Exception) -> ExpressoPersistError:
    """The error for people: never a traceback, never the text of an unforeseen one."""
    if isinstance(error, ExpressoPersistError):
        return error
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return ExpressoPersistError(f"{error.strerror or type(error).__name__}{where}.")
    # Its text may hold anything, values and passwords too.
    return ExpressoPersistError(
        f"Something went wrong that should not have ({type(error).__name__}); "
        "set EXPRESSO_PERSIST_DEBUG=1 to see where."
    )


@attrs.frozen
class Target:
    """The store that a verb works on."""

    database: str | None
    tenant: str | None

    @property
    def url(self) -> str:
        """The database's URL; it may hold a password, so it is never printed."""
        return self.database or default_url()

    @property
    def options(self) -> str:
        """What names this store in a command to type; a password is left out."""
        given = ""
        if self.database:
            with contextlib.suppress(ArgumentError):
                url = make_url(self.database).render_as_string(hide_password=True)
                given += f" --database {shlex.quote(url)}"
        return given + (f" --tenant {shlex.quote(self.tenant)}" if self.tenant else "")

    @property
    def is_missing_file(self) -> bool:
        """Whether the URL names a SQLite file that does not exist."""
        try:
            url = make_url(self.url)
        except ArgumentError:
            return False  # Database says it better
        return (
            url.get_backend_name() == "sqlite"
            and url.database not in (None, "", ":memory:")
            and not str(url.database).startswith("file:")
            and not Path(str(url.database)).exists()
        )

    @property
    def is_new(self) -> bool:
        """Whether there is nothing of ours there yet: no file, or no tables in it.

        Raises:
            DatabaseUnavailable: There is the journal of a file that is missing.
            TablesDropped: There were tables, and something else dropped them.
        """
        if click.get_current_context().meta.get(HOST_STORE) is not None and not self.database:
            return False  # the host opened it
        if self.is_missing_file:
            self.require_no_journal()
            return True
        database = self.look()
        try:
            with self.reached(), database.read() as connection:
                return migrations.current(connection) is None
        finally:
            database.close()

    def require_no_journal(self) -> None:
        """See that a file that is missing is not one whose journal is there.

        Raises:
            DatabaseUnavailable: It is; the sentence says how to go on.
        """
        try:
            refuse_without_file(os.path.realpath(str(make_url(self.url).database)))
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(
                " ".join([error.message, *lost_data(self.tenant or "default")])
            ) from error

    def create(self) -> None:
        """Make the tables where there are none yet, without the words of a start."""
        database = Database(self.url)
        try:
            with self.reached():
                adoption.upgrade(database, tenant=self.tenant or "default", adopt=False)
        finally:
            database.close()

    def look(self) -> Database:
        """The database for a dry run, which leaves no byte different.

        In memory where there is no file yet; a SQLite file is opened for reading only,
        because it would be turned to another kind of journal otherwise.
        """
        if self.is_missing_file:
            self.require_no_journal()
            return Database("sqlite://")
        try:
            url = make_url(self.url)
        except ArgumentError:
            return Database(self.url)  # says it better
        name = url.database or ""
        if url.get_backend_name() != "sqlite" or name in ("", ":memory:") or "file:" in name:
            return Database(self.url)
        file = Path(name).resolve().as_uri()
        return Database(url.set(database=file, query={"mode": "ro", "uri": "true"}))

    @contextlib.contextmanager
    def open(self, *, migrate: bool = False, new_tenant: bool = False) -> Iterator[Store]:
        """The host's store, or one that is opened here and closed afterwards.

        Args:
            migrate: Create or update the tables.
            new_tenant: A tenant that is not there is made by what the verb does.

        Raises:
            TablesMissing: It has no tables yet, and ``migrate`` is not set.
            NotFound: There is no such tenant, and neither is set.
        """
        host = click.get_current_context().meta.get(HOST_STORE)
        if host is not None and self.database is None:
            store = host()
            yield store if self.tenant is None else store.for_tenant(self.tenant)
            return
        if self.is_missing_file and not migrate:
            # Opening it would leave an empty file where somebody mistyped a name.
            self.require_no_journal()
            sentence = (
                f"There is no database {Database(self.url).url} yet; create it with "
                f"`{invocation()} init`, or name another one with --database."
            )
            raise TablesMissing(" ".join([sentence, *lost_data(self.tenant or "default")]))
        with self.reached():
            store = Store(self.url, tenant=self.tenant or "default", migrate=migrate)
        with store:
            if not (migrate or new_tenant):
                self._require_tenant(store)
            yield store

    def _require_tenant(self, store: Store) -> None:
        """See that a mistyped name makes no tenant, nor passes for one without data."""
        if self.tenant in (None, "default") or store.inventory.exists():
            return
        names = ", ".join(tenant.name for tenant in store.tenants.list())
        raise NotFound(
            f"There is no tenant {self.tenant}; there are: {names or 'none'}. "
            "`import` and `tenant create` make one."
        )

    @contextlib.contextmanager
    def tried(self) -> Iterator[Store]:
        """A store to try a restore in, which writes to it: in memory where there is none yet."""
        if self.is_new:
            with Store("sqlite://", tenant=self.tenant or "default", migrate=True) as store:
                yield store
        else:
            with self.open() as store:
                yield store

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Say which server it was that did not answer; trying again is no help here."""
        try:
            yield
        except DatabaseUnavailable as error:
            url = make_url(self.url)
            if url.get_backend_name() == "sqlite":
                raise  # it tells about the file
            where = url.render_as_string(hide_password=True)
            raise DatabaseUnavailable(
                f"No answer from {where}. Does the server run, does the database exist, "
                "and are name and password right?"
            ) from error


def may_write(path: Path, *, force: bool) -> Path:
    """The one rule of all verbs that write a file: one that is there is replaced on demand only.

    Raises:
        InvalidInput: There is one, and ``--force`` was not given.
    """
    if path.is_file() and not force:
        raise InvalidInput(f"There is a file {plain(path)}; --force replaces it.")
    return path


@attrs.frozen
class Terminal:
    """Where results and progress go."""

    json: bool

    def result(self, data: Mapping[str, Any], *lines: str) -> None:
        """Print the result: the lines for people, or the data for scripts."""
        text = json.dumps(data, ensure_ascii=False, indent=2) if self.json else "\n".join(lines)
        sys.stdout.buffer.write(f"{text}\n".encode())
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        """Say something that is not the result."""
        click.echo(plain(text), err=True)

    def _console(self) -> Console | None:
        """Where progress is shown; None without a terminal."""
        if self.json or not sys.stderr.isatty():
            return None  # without the time that importing it takes
        from rich.console import Console

        console = Console(stderr=True)
        return console if console.is_terminal else None

    @contextlib.contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show that something takes its time, where somebody is watching."""
        console = self._console()
        if console is None:
            yield
            return
        with console.status(f"{text} …"):
            yield

    @contextlib.contextmanager
    def measuring(self, text: str) -> Iterator[Callable[[int, int], None] | None]:
        """Show how much is done, on a terminal; give what is to be called."""
        console = self._console()
        if console is None:
            yield None
            return
        from rich.progress import Progress

        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(text, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def progress(self, text: str, items: Sequence[T]) -> Iterator[T]:
        """Go through ``items``; show how far that got, where somebody is watching."""
        console = self._console()
        if console is None:
            yield from items
            return
        from rich.progress import track

        yield from track(items, f"{text} …", console=console, transient=True)

    @property
    def width(self) -> int | None:
        """Columns that a line of the result may have; None without a terminal."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def actor() -> str:
    """Who is at the keyboard, for the audit trail."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def resolve(store: Store, backup_id: str) -> str:
    """The id of a backup that may be named "latest".

    Raises:
        BackupNotFound: There is none yet.
    """
    if backup_id != "latest":
        return backup_id
    # Not the safety backup of a restore or import: the same command twice would undo itself.
    # The list is in the order of revisions; what came from an archive is last in it.
    backups = store.backups.list()
    for backup in backups:
        if backup.backup_status == "completed" and backup.backup_type not in SAFETY_TYPES:
            return backup.id
    raise BackupNotFound(NO_BACKUP_YET if not backups else _NONE_TO_CHOOSE)


def duration(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> dt.timedelta | None:
    """Read an option that is a span of time."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5})([hdw])", value)
    if found is None:
        raise click.BadParameter(f"{plain(value)!r} is not a duration such as 400d, 12w or 36h.")
    unit = {"h": "hours", "d": "days", "w": "weeks"}[found[2]]
    return dt.timedelta(**{unit: int(found[1])})


def table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Rows as aligned lines."""
    texts = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]


def verb(
    function: Callable[Concatenate[Target, Terminal, P], None],
) -> Callable[..., None]:
    """Give a verb the options of all verbs, and what they mean: a target and a terminal."""

    @click.option(
        "--database",
        metavar="URL",
        help="sqlite:///file.db or postgresql://…; default: DATABASE_URL, "
        "else sqlite:///expresso.db.",
    )
    @click.option("--tenant", metavar="NAME", help="Whose data; default: default.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
    @functools.wraps(function)
    def wrapper(
        database: str | None,
        tenant: str | None,
        as_json: bool,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        click.get_current_context().meta[_JSON] = as_json
        function(Target(database, tenant), Terminal(as_json), *args, **kwargs)

    return wrapper
