"""Routes of a host that would answer instead of ours, or that ours would hide.

An application of the replaced system serves the same paths to everybody. Mounted beside them,
this library would protect nothing, so they are found before it serves.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeAlias

import attrs

from expresso_persist.errors import InvalidConfiguration
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.http.pages import ASSETS

__all__ = [
    "HostRoute",
    "Lookup",
    "conflicts",
    "sibling_path",
    "module_variable",
    "refuse_conflicts",
    "probes",
    "explain",
]

_SOMETHING = "1" * 32
"""The value for a placeholder: an id of a backup, and a number to a host's converter."""


@attrs.frozen
class HostRoute:
    """A route of the host at one of our paths.

    Attributes:
        answers: The method and the path that it answers.
        view: The function behind it, by module and name.
        line: What adds it to the application, as code to remove.
    """

    answers: str
    view: str
    line: str


Lookup: TypeAlias = Callable[[str, str], HostRoute | None]
"""Returns the host's route that answers a method and a path; None where ours does."""


def conflicts(prefix: str, look_up: Lookup) -> list[HostRoute]:
    """The host's routes at our paths.

    Args:
        prefix: Where ours are mounted.
        look_up: Looks a method and a path up in the application's own router.
    """
    found = (look_up(method, path) for method, path in probes(prefix))
    return [route for route in found if route is not None]


def refuse_conflicts(found: list[HostRoute]) -> None:
    """Refuse to be mounted beside such routes.

    Raises:
        InvalidConfiguration: There are some.
    """
    if found:
        raise InvalidConfiguration(
            f"{explain(found)}Or mount with register_routes(..., replace=True), which takes these "
            "paths over and leaves the application's other routes as they are."
        )


def explain(found: list[HostRoute]) -> str:
    """Which routes there are, and what to remove."""
    answers = "; ".join(f"{route.answers} ({route.view})" for route in found)
    lines = "\n".join(f"    {line}" for line in dict.fromkeys(route.line for route in found))
    return (
        "This application has routes of its own at paths of expresso-persist, which would be "
        f"answered by them, with the protection that they have: {answers}. Remove what adds "
        f"them:\n{lines}\n"
    )


def sibling_path(path: str) -> str:
    """A path that differs from one of ours in its last fixed part.

    A route that answers both is no rival: it takes whatever nothing else answers, such as a
    folder of files or the page of a single-page application.
    """
    parts = path.split("/")
    last = max(number for number, part in enumerate(parts) if part != _SOMETHING)
    return "/".join([*parts[:last], f"another-{parts[last]}", *parts[last + 1 :]])


def module_variable(module: str, value: object) -> str | None:
    """The name by which a module knows an object, such as its blueprint."""
    found: ModuleType | None = sys.modules.get(module)
    names: dict[str, Any] = vars(found) if found is not None else {}
    return next((name for name, each in list(names.items()) if each is value), None)


def probes(prefix: str) -> Iterator[tuple[str, str]]:
    """A method and a path for each of our routes."""
    for endpoint in ENDPOINTS:
        yield endpoint.method, _filled(prefix + endpoint.path)
    for path in ASSETS:
        yield "GET", _filled(prefix + path)


def _filled(path: str) -> str:
    """A path that a template with placeholders matches."""
    return re.sub(r"{\w+}", _SOMETHING, path)
