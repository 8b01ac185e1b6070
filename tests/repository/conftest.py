"""Short hands for the repository's tests."""

from __future__ import annotations

import pytest

from expresso_persist import Store
from expresso_persist.model.records import Commit, Put, StationQuantity
from shorthand import PutQuantity


@pytest.fixture
def put(store: Store) -> PutQuantity:
    """Puts a quantity at a station, as one commit."""

    def commit(item: str, quantity: float, **options: object) -> Commit:
        record = StationQuantity.of("1", "milk", item, data={"quantity": quantity})
        return store.inventory.commit([Put(record)], **{"actor": "test", **options})  # type: ignore[arg-type]

    return commit
