"""Draws the rooms of the package into docs/architecture.md: `python tools/rooms_picture.py`.

The picture is made from the imports as they are, types included. An arrow that others imply is
left out: what a room reaches over another one needs no arrow of its own. A test says when the
picture is stale.
"""

from __future__ import annotations

from pathlib import Path

import grimp

PAGE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: made by tools/rooms_picture.py -->\n", "<!-- end of rooms -->\n"


def picture(package: str) -> str:
    """The rooms of a package and their arrows, in Mermaid's language."""
    graph = grimp.build_graph(package.partition(".")[0])
    rooms = graph.find_children(package)
    for room in rooms:
        graph.squash_module(room)  # a room is seen as one module
    below = {room: (graph.find_upstream_modules(room) & rooms) - {room} for room in rooms}
    lines = ["```mermaid", "flowchart TD"]
    for room in sorted(rooms, key=lambda room: (-len(below[room]), room)):
        direct = (graph.find_modules_directly_imported_by(room) & rooms) - {room}
        implied = {other for between in direct for other in below[between]}
        name = room.rpartition(".")[2]
        shown = sorted(other.rpartition(".")[2] for other in direct - implied)
        lines += [f"    {name} --> {other}" for other in shown] or [f"    {name}"]
    return "\n".join([*lines, "```", ""])


def drawn(page: str) -> str:
    """The page with the pictures as they are now."""
    made = f"{picture('expresso_persist')}\nInside `http/`:\n\n{picture('expresso_persist.http')}"
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
