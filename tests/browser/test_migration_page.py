"""The whole migration, as an organiser does it, on every server and database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

SECRETS = ("token", "coffee_system_token", "coffee_system_refresh_token", "refreshToken")
LOGIN = {"coffee_system_user", "user"}

Read = Callable[[str], dict[str, str]]

# What the app gets from each typed getter must be what it had read from localStorage.
COMPARE = """
  const parse = raw => { try { return JSON.parse(raw); } catch { return raw; } };
  const getters = {
    event_inventory: () => service.getEventInventory(),
    event_stock_levels: () => service.getEventStockLevels(),
    station_inventory_configs: () => service.getStationInventoryConfigs(),
    station_inventory_quantities: () => service.getStationInventoryQuantities(),
  };
  const differences = [];
  for (const [key, raw] of argument) {
    const wanted = JSON.stringify(parse(raw));
    const station = /^coffee_stock_station_(.+)$/.exec(key);
    const answers = [await service.getDocument(key)];
    if (Object.hasOwn(getters, key)) answers.push(await getters[key]());
    if (station) answers.push(await service.getStationStock(station[1]));
    for (const answer of answers) {
      if (JSON.stringify(answer) !== wanted) differences.push([key, JSON.stringify(answer)]);
    }
    if ((await service.getRaw(key)) !== raw) differences.push([key, 'raw']);
  }
  return differences;
"""


def in_database(receipt: dict[str, Any]) -> list[str]:
    return [line["key"] for line in receipt["keys"] if line["class"] in ("stored", "unchanged")]


@pytest.mark.parametrize("scenario", ["configured-event", "demo-mode", "fresh-defaults"])
def test_every_value_of_a_real_event_comes_back_equal(
    migration: Any, fixture_dump: Read, scenario: str
) -> None:
    """Migrate, verify and clear a real localStorage; the client then serves the same values."""
    storage = fixture_dump(scenario)
    migration.fill_storage(storage)
    migration.open()
    migration.analyze()
    receipt = migration.migrate()

    totals = receipt["totals"]
    withheld = [key for key in SECRETS if key in storage]
    classes = ("stored", "unchanged", "refused", "skipped", "quarantined")
    assert sum(totals[name] for name in classes) == totals["keys"]
    assert totals["keys"] + len(withheld) == len(storage)
    assert totals["refused"] == 0, "the page sends no secret that the server would refuse"
    assert receipt["committed"] is True

    assert migration.verify().startswith("Verified")
    stored = in_database(receipt)
    assert stored
    assert migration.storage() == storage, "nothing is deleted before it is asked for"
    originals = [(key, storage[key]) for key in stored]
    assert migration.with_client(COMPARE, originals) == []

    migration.clear()
    left = migration.storage()
    assert set(left) == (set(storage) - set(stored)) | (LOGIN & set(storage))
    assert migration.with_client(COMPARE, originals) == []

    for key in withheld:
        assert storage[key] not in migration.sent()
        assert storage[key] not in migration.server.output()
        assert storage[key] not in json.dumps(migration.server.get("/api/migration/documents"))


def test_the_printed_link_signs_in_once(migration: Any, fixture_dump: Read) -> None:
    """The one-time token works once, leaves the address bar, and a reload stays signed in."""
    migration.fill_storage(fixture_dump("fresh-defaults"))
    link = migration.server.link()
    migration.page.goto(link)
    migration.sees("Ready.")
    assert migration.page.url == migration.server.page_url
    migration.page.reload()
    migration.sees("Ready.")
    migration.analyze()
    migration.page.goto("about:blank")
    migration.page.goto(link)
    migration.sees("That sign-in link was used before")
    migration.analyze()  # still signed in

    other = migration.page.context.browser.new_context()
    second = other.new_page()
    second.goto(link)
    second.get_by_role("heading", name="Sign in").wait_for()
    other.close()


def test_a_second_migration_commits_nothing(migration: Any, fixture_dump: Read) -> None:
    """The same data again is unchanged in every key, and the revision stays."""
    migration.fill_storage(fixture_dump("configured-event"))
    migration.open()
    migration.analyze()
    first = migration.migrate()
    migration.analyze()
    second = migration.migrate()
    assert second["committed"] is False
    assert second["revision"] == first["revision"]
    assert second["totals"]["stored"] == 0
    assert second["totals"]["unchanged"] == len(in_database(first))
    assert migration.verify().startswith("Verified")
    assert migration.server.get("/api/inventory/stats")["revision"] == first["revision"]


def test_a_password_inside_a_document_stays_in_the_browser(migration: Any) -> None:
    """The member is taken out before anything is sent; the rest of the document arrives."""
    users = [{"name": "Ann", "password": "correct horse"}, {"name": "Bo", "apiKey": "k-4711-xyz"}]
    migration.fill_storage(
        {
            "coffee_system_users": json.dumps(users),
            "notes": "Wifi\npassword: grinder-42",
            "Authorization": "Bearer abcdefgh12345678",
            "event_sessions": '["day one"]',
        }
    )
    migration.open()
    migration.analyze()
    receipt = migration.migrate()
    assert migration.verify().startswith("Verified")
    assert sorted(in_database(receipt)) == ["coffee_system_users", "event_sessions"]
    for secret in ("correct horse", "k-4711-xyz", "grinder-42", "abcdefgh12345678"):
        assert secret not in migration.sent()
        assert secret not in migration.page.content()
    documents = migration.server.get("/api/migration/documents")["localStorage"]
    assert json.loads(documents["coffee_system_users"]) == [{"name": "Ann"}, {"name": "Bo"}]

    plan = migration.page.locator("#plan").text_content()
    assert "[0].password" in plan
    assert "[1].apiKey" in plan
    migration.clear()
    assert set(migration.storage()) == {"coffee_system_users", "notes", "Authorization"}


def test_a_server_that_goes_away_loses_nothing(migration: Any, fixture_dump: Read) -> None:
    """The failure is told, the browser keeps everything, and the same button goes on later."""
    storage = fixture_dump("configured-event")
    migration.fill_storage(storage)
    migration.open()
    migration.analyze()
    migration.server.stop()
    migration.press("Migrate to Database")
    problem = migration.page.get_by_role("alert").filter(has_text="cannot be reached")
    problem.wait_for()
    assert migration.storage() == storage
    assert not migration.page.get_by_role("button", name="Verify Migration").is_visible()

    migration.server.start()
    receipt = migration.migrate()
    assert receipt["committed"] is True
    assert migration.verify().startswith("Verified")


def test_two_devices_are_merged_and_a_difference_is_named(migration: Any) -> None:
    """The union is verified as such; where the database's value was kept, the page says so."""
    here = {"event_inventory": '{"milk":[{"id":"oat","name":"Oat","enabled":true}]}'}
    there = '{"milk":[{"id":"soy","name":"Soy","enabled":true}]}'
    migration.fill_storage({"event_inventory": there})
    migration.open()
    migration.analyze()
    migration.migrate()

    migration.fill_storage(here)
    migration.page.goto(migration.server.page_url)
    migration.analyze()
    migration.migrate()
    assert "1 also hold data from elsewhere" in migration.verify()
    assert not migration.page.get_by_role("button", name="Clear migrated").is_visible()
    assert migration.storage() == here

    migration.fill_storage({"event_inventory": here["event_inventory"].replace("Oat", "Oatly")})
    migration.page.goto(migration.server.page_url)
    migration.press("Analyze localStorage Data")
    migration.sees("Analyzed")
    migration.page.get_by_label("What to keep").select_option("existing")
    migration.page.get_by_text("1 conflict").wait_for()
    plan = migration.page.inner_text("#plan")
    assert "Looks like the same thing: 1" in plan  # one id, two names
    assert "one id, two names: united" in plan
    migration.page.locator("#migrate-button:not([disabled])").wait_for()
    migration.migrate()
    assert "of 1 the database's values stay, as was chosen" in migration.verdict()
    assert "values of this browser were not taken" in migration.page.inner_text("#receipt")
    assert migration.page.locator("#receipt .bad, #verification .bad").count() == 0
    assert "the database keeps another value" in migration.page.inner_text("#clearable")
    migration.clear()
    assert migration.storage() == {}
    stored = migration.server.get("/api/migration/documents")["localStorage"]["event_inventory"]
    assert "Oatly" not in stored
    assert "Oat" in stored


def test_a_lost_value_is_still_a_failure_when_others_are_kept(migration: Any) -> None:
    """To keep what is stored excuses no document but the one that differs."""
    migration.fill_storage({"event_sessions": '["one"]', "event_settings": '{"hall":"North"}'})
    migration.open()
    migration.analyze()
    migration.migrate()
    migration.fill_storage({"event_sessions": '["two"]'})
    migration.page.goto(migration.server.page_url)
    migration.press("Analyze localStorage Data")
    migration.sees("Analyzed")
    migration.page.get_by_label("What to keep").select_option("existing")
    migration.page.get_by_text("1 conflict").wait_for()
    migration.page.locator("#migrate-button:not([disabled])").wait_for()

    def damage(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("North", "South"))

    migration.page.route("**/api/migration/documents*", damage)
    migration.migrate()
    assert "did not come back as sent: event_settings" in migration.verdict()
    assert not migration.page.get_by_role("button", name="Clear migrated").is_visible()


def test_a_damaged_key_keeps_the_others_from_nothing(migration: Any) -> None:
    """Its text is kept apart from the good one that is stored; the rest can be cleared."""
    migration.fill_storage({"coffee_cue_schedule": '{"a": 1}'})
    migration.open()
    migration.analyze()
    migration.migrate()
    migration.fill_storage({"coffee_cue_schedule": "{broken", "event_settings": '{"hall":"N"}'})
    migration.page.goto(migration.server.page_url)
    migration.press("Analyze localStorage Data")
    migration.sees("Analyzed")
    migration.migrate()
    assert "kept apart" in migration.page.locator("#verification").inner_text()
    migration.page.get_by_role("button", name="Clear migrated").wait_for()
    assert "coffee_cue_schedule" not in migration.page.locator("#clearable").inner_text()


def test_what_stays_in_the_browser_is_not_called_stored(migration: Any) -> None:
    migration.fill_storage({"token": "abc", "unknown_thing": "AKIAIOSFODNN7EXAMPLE"})
    migration.open()
    migration.analyze()
    migration.press("Migrate to Database")
    migration.sees("There was nothing to migrate.")
    assert "already holds all of it" not in migration.page.locator("main").inner_text()


def test_migrating_verifies_by_itself(migration: Any, fixture_dump: Read) -> None:
    """Nobody has to press another button to see that everything arrived."""
    migration.fill_storage(fixture_dump("configured-event"))
    migration.open()
    migration.analyze()
    migration.press("Migrate to Database")
    migration.sees("Migrated and verified.")
    assert migration.verdict().startswith("Verified")
    assert migration.page.get_by_role("button", name="Clear migrated").is_visible()


def test_a_fresh_link_signs_the_open_tab_in(migration: Any, fixture_dump: Read) -> None:
    """The link differs from the open page's address in its last part only; it goes on there."""
    migration.fill_storage(fixture_dump("fresh-defaults"))
    migration.open(signed_in=False)
    migration.page.get_by_role("heading", name="Sign in").wait_for()
    migration.page.evaluate("window.sameTab = true")
    migration.press("Analyze localStorage Data")
    migration.page.get_by_text("Sign in to go on; nothing is lost.").wait_for()
    migration.page.evaluate("link => { location.href = link; }", migration.server.link())
    migration.sees("Analyzed")  # what was asked for before
    assert migration.page.evaluate("window.sameTab"), "the page was not loaded again"
    assert migration.page.url == migration.server.page_url
    assert not migration.page.get_by_role("heading", name="Sign in").is_visible()

    migration.page.evaluate("location.hash = 'token=used-or-wrong'")
    migration.sees("That sign-in link was used before")  # and the tab's session holds
    migration.press("Sign out")
    migration.page.evaluate("location.hash = 'token=used-or-wrong'")
    migration.page.get_by_role("alert").filter(has_text="link").wait_for()
    assert migration.page.url == migration.server.page_url
    assert migration.page.get_by_role("heading", name="Sign in").is_visible()


def test_an_empty_browser_can_be_filled_with_a_sample(migration: Any) -> None:
    """What a person sees who starts the server and opens the page: something to go on with."""
    migration.page.goto(migration.server.link())
    migration.sees("Ready.")
    assert not migration.page.get_by_role("button", name="Load sample").is_visible()
    migration.press("Analyze localStorage Data")
    migration.sees("There is nothing in this browser to migrate.")
    migration.press("Load sample data into this browser")
    migration.sees("Analyzed the sample event")
    sample = migration.storage()
    assert "event_inventory" in sample
    assert not migration.page.get_by_role("button", name="Load sample").is_visible()
    receipt = migration.migrate()
    assert receipt["totals"]["stored"] == len(sample)
    assert migration.verdict().startswith(f"Verified: {len(sample)} keys")
    migration.clear()
    assert migration.storage() == {}


def test_backups_are_shown_and_made(migration: Any, fixture_dump: Read) -> None:
    """The page tells the state of the backups, and makes one when asked."""
    migration.fill_storage(fixture_dump("fresh-defaults"))
    migration.open()
    migration.analyze()
    migration.migrate()
    migration.press("Create Backup")
    migration.sees("Made a backup of revision 1.")
    migration.press("Backup Status")
    migration.sees("This is the state of the backups.")
    shown = migration.page.locator("#backup-status").inner_text()
    assert "Newest" in shown
    assert "none yet" not in shown
