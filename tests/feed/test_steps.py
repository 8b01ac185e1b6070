"""The loop of a connection that stays open, driven by hand: no thread and no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.http import Actor, Api, LiveSettings, Permission
from expresso_persist.http.adapter import Request, endpoint_named
from expresso_persist.http.call import Call
from expresso_persist.http.live.sse import SSE
from expresso_persist.http.live.subscription import Step, Subscription
from expresso_persist.model.records import Put, Setting

READER = Actor("reader", Permission.READ)


@attrs.define
class Door:
    """An ``authorize`` hook that can be closed."""

    open: bool = True
    fails: bool = False

    def __call__(self, _: Request) -> Actor | None:
        if self.fails:
            raise DatabaseUnavailable("The database does not answer.")
        return READER if self.open else None


def subscribed(store: Store, door: Door, heartbeat: float = 60) -> Subscription:
    api = Api(store, authorize=door, live=LiveSettings(heartbeat=heartbeat))
    stream = endpoint_named("stream")
    call = api.receive(stream, Request("GET", stream.path))
    assert isinstance(call, Call)
    return Subscription(call, "0", SSE)


def next_step(steps: Iterator[Step]) -> bytes | float | None:
    """Call what is to be called until there is something to send or a time to wait."""
    for step in steps:
        if isinstance(step, bytes | float):
            return step
        step()
    return None


def next_bytes(steps: Iterator[Step]) -> bytes | None:
    """Also over the times to wait, which are short here, without waiting."""
    while isinstance(step := next_step(steps), float):
        pass
    return step


def commit(store: Store, value: Any) -> None:
    store.inventory.commit([Put(Setting.of("a", data=value))], actor="anna")


def test_it_sends_what_there_is_and_then_waits(store: Store) -> None:
    commit(store, 1)
    subscription = subscribed(store, Door())
    steps = subscription.steps()
    sent = next_step(steps)
    assert isinstance(sent, bytes)
    assert sent.startswith(b"event: commit\nid: %s\n" % subscription.cursor.encode())
    seconds = next_step(steps)
    assert isinstance(seconds, float)
    assert 50 < seconds <= 60, "until the heartbeat"
    subscription.close()
    subscription.close()
    assert [*steps] == []


def test_a_heartbeat_authorises_again(store: Store) -> None:
    door = Door()
    subscription = subscribed(store, door, heartbeat=0.001)
    steps = subscription.steps()
    assert next_bytes(steps) == b": alive\n\n"
    door.open = False
    assert next_bytes(steps) == b'event: end\ndata: {"code":"unauthorized"}\n\n'
    assert [*steps] == []
    assert subscription.revoked
    subscription.close()


def test_it_ends_silently_when_the_actor_cannot_be_checked(store: Store) -> None:
    """The client comes back, and gets the reason as an answer."""
    door = Door()
    subscription = subscribed(store, door, heartbeat=0.001)
    door.fails = True
    assert next_bytes(subscription.steps()) is None
    assert subscription.ended
    assert not subscription.revoked
    subscription.close()


def test_a_database_that_does_not_answer_is_asked_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = subscribed(store, Door())

    def down(_: object) -> None:
        raise DatabaseUnavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(type(store.feed), "page", lambda _self, cursor: down(cursor))
        seconds = next_step(subscription.steps())
    assert isinstance(seconds, float)
    assert seconds <= 1
    commit(store, 2)
    sent = next_step(subscription.steps())
    assert isinstance(sent, bytes)
    assert sent.startswith(b"event: commit")
    subscription.close()
