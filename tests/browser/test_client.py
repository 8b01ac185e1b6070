"""DatabaseInventoryService.js against a made-up server: what it sends, retries and throws."""

from __future__ import annotations

from typing import Any

import pytest

METHODS = """
    initialize refresh getAll getEventInventory getEventStockLevels getStationInventoryConfigs
    getStationInventoryQuantities getStationStock getSettings getDocument getDocuments getRaw
    updateEventInventory updateEventStock updateStationConfig updateStationQuantity
    updateSetting adjust batchUpdate getStats getMigrationStatus migrateLocalStorage
    createBackup getBackupStatus openSession setToken configure
    getInventory getStockLevels getEventStock getStationConfigs getStationConfigurations
    getStationQuantities saveEventInventory saveStockLevels saveStationConfigs
    saveStationQuantities
    updateEventInventoryItem updateEventStockLevel updateStationInventoryConfig
    updateStationInventoryQuantity getInventoryData getStockData loadFromDatabase
    migrateLocalStorageData checkForLocalStorageData isCacheValid
    setAside sendSetAside discardSetAside
"""

# `calls` records every request; `answers` are given in order, the last one again and again.
HARNESS = """
async ([body, answers, options]) => {
  const module = await import('http://expresso.test/DatabaseInventoryService.js');
  const calls = [];
  const fetch = async (url, init) => {
    calls.push({url, method: init.method, headers: init.headers, body: init.body ?? null,
                at: performance.now()});
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === 'down') throw new TypeError('Failed to fetch');
    if (answer === 'hangs') {
      return new Promise((_, reject) =>
        init.signal.addEventListener('abort', () => reject(new DOMException('', 'AbortError'))));
    }
    const {status = 200, type = 'application/json', body: content, headers = {}} = answer;
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    return new Response(status === 304 ? null : text,
                        {status, headers: {'Content-Type': type, ...headers}});
  };
  const service = new module.DatabaseInventoryService(
    {baseUrl: 'http://api', token: 'secret', fetch, retryDelay: 1, ...options});
  const AsyncFunction = (async () => {}).constructor;
  const run = new AsyncFunction('service', 'module', 'calls', body);
  try {
    return {value: await run(service, module, calls), calls};
  } catch (error) {
    const {name, message, status, code, details, retryAfter, data} = error;
    return {error: {name, message, status, code, details, retryAfter, data}, calls};
  }
}
"""


def ok(data: object, **headers: str) -> dict[str, Any]:
    body = {"success": True, "message": "", "data": data, "revision": 7}
    return {"body": body, "headers": {name.replace("_", "-"): v for name, v in headers.items()}}


@pytest.fixture
def client(modules: Any) -> Any:
    def run(body: str, *answers: object, **options: object) -> Any:
        return modules.evaluate(HARNESS, [body, list(answers), options])

    return run


def test_the_default_export_is_a_ready_instance_with_every_method(modules: Any) -> None:
    """The names that existing code calls are there; nothing has to be constructed."""
    names = modules.evaluate(
        """async names => {
          const module = await import('http://expresso.test/DatabaseInventoryService.js');
          if (!(module.default instanceof module.DatabaseInventoryService)) return 'no instance';
          return names.filter(name => typeof module.default[name] !== 'function');
        }""",
        METHODS.split(),
    )
    assert names == []


def test_the_address_is_found_from_the_module(modules: Any) -> None:
    """Served below /static/expresso-persist/, the API is looked for beside /static."""
    url = "http://expresso.test/shop/static/expresso-persist/DatabaseInventoryService.js"
    found = modules.evaluate("async url => (await import(url)).default.baseUrl", url)
    assert found == "http://expresso.test/shop"


def test_reads_are_asked_again_but_not_sent_again(client: Any) -> None:
    """The second read sends the entity tag, and a 304 answers with the same data."""
    answers = [ok({"event_inventory": {"milk": []}}, ETag='"e-1"'), {"status": 304}]
    ran = client(
        "const first = await service.getEventInventory(); first.milk.push('mine');"
        "return service.getEventInventory();",
        *answers,
    )
    assert ran["value"] == {"milk": []}, "a caller's change does not reach the next answer"
    assert "If-None-Match" not in ran["calls"][0]["headers"]
    assert ran["calls"][1]["headers"]["If-None-Match"] == '"e-1"'
    assert ran["calls"][1]["headers"]["Authorization"] == "Bearer secret"


def test_another_token_does_not_see_the_first_ones_answers(client: Any) -> None:
    """What one user read is not shown to the next one."""
    ran = client(
        "await service.getAll(); service.setToken('other'); await service.getAll();",
        ok({}, ETag='"e-1"'),
    )
    assert "If-None-Match" not in ran["calls"][1]["headers"]


def test_reads_at_the_same_time_share_one_request(client: Any) -> None:
    """A page that asks for four documents at once asks the server once."""
    ran = client(
        "return Promise.all([service.getEventInventory(), service.getSettings(),"
        "                    service.getStationStock(1)])",
        ok({"event_inventory": {}, "settings": {"a": 1}, "station_stock": {"1": {"milk": []}}}),
    )
    assert ran["value"] == [{}, {"a": 1}, {"milk": []}]
    assert len(ran["calls"]) == 1


def test_a_missing_document_is_empty_and_a_plain_text_is_text(client: Any) -> None:
    """As with localStorage: no key is no value, and not every value is JSON."""
    raw = {"localStorage": {"name": "Anna", "version": "2.0", "nothing": "null"}}
    ran = client(
        "return [await service.getRaw('none'), await service.getDocument('name'),"
        "        await service.getDocument('version'), await service.getRaw('version'),"
        "        await service.getRaw('nothing'), await service.getDocument('toString')]",
        ok(raw),
    )
    assert ran["value"] == [None, "Anna", 2, "2.0", "null", None]


def test_a_write_is_repeated_with_the_same_key(client: Any) -> None:
    """Lost connections and 503 are tried again, and the server can tell that it is one write."""
    ran = client(
        "return service.updateStationQuantity(1, 'Oat', 3, 'milk')",
        "down",
        {"status": 503, "type": "text/html", "body": "<h1>busy</h1>"},
        {"body": '{"success": tr'},
        ok(None),
    )
    assert ran["value"] == {"revision": 7, "message": "", "data": None}
    keys = {call["headers"]["Idempotency-Key"] for call in ran["calls"]}
    assert len(ran["calls"]) == 4
    assert len(keys) == 1
    assert {call["body"] for call in ran["calls"]} == {
        '{"station_id":1,"item_name":"Oat","category":"milk","quantity":3}'
    }


def test_each_write_has_a_key_of_its_own(client: Any) -> None:
    """Two equal writes are two writes."""
    ran = client(
        "await service.adjust({item: 'Oat', category: 'milk', delta: 1});"
        "await service.adjust({item: 'Oat', category: 'milk', delta: 1});",
        ok(None),
    )
    first, second = (call["headers"]["Idempotency-Key"] for call in ran["calls"])
    assert first != second


def test_repeating_ends_and_the_failure_is_thrown(client: Any) -> None:
    """A server that stays away is an error, not an endless loop and not an empty answer."""
    ran = client("return service.getEventInventory()", "down")
    assert len(ran["calls"]) == 4
    assert ran["error"]["name"] == "ExpressoPersistError"
    assert (ran["error"]["status"], ran["error"]["code"]) == (0, "network")


def test_a_server_that_hangs_is_given_up(client: Any) -> None:
    """No answer in time is told as such."""
    ran = client("return service.getAll()", "hangs", timeout=30, retries=1)
    assert ran["error"]["code"] == "timeout"
    assert len(ran["calls"]) == 2


@pytest.mark.parametrize("status", [409, 503])
def test_retry_after_is_honoured_or_handed_on(client: Any, status: int) -> None:
    """A short wait is waited; a long one is the caller's decision."""
    busy = {"status": status, "body": {"success": False, "error": "Busy.", "code": "busy"}}
    ran = client(
        "return service.getAll()", {**busy, "headers": {"Retry-After": "1"}}, ok({}), retries=1
    )
    assert ran["calls"][1]["at"] - ran["calls"][0]["at"] >= 990
    ran = client("return service.getAll()", {**busy, "headers": {"Retry-After": "3600"}})
    assert len(ran["calls"]) == 1
    assert ran["error"]["retryAfter"] == 3600


def test_a_refusal_is_thrown_at_once_with_its_details(client: Any) -> None:
    """4xx but "busy" is not repeated; sentence, code, details and data arrive."""
    body = {
        "success": False,
        "error": "The quantity is not a number.",
        "code": "invalid_input",
        "details": [{"path": "quantity", "message": "expected a number"}],
        "data": {"current": 4},
    }
    ran = client(
        "return service.updateEventStock('Oat', {total: 'x'})", {"status": 422, "body": body}
    )
    assert len(ran["calls"]) == 1
    assert ran["error"] == {
        "name": "ExpressoPersistError",
        "message": body["error"],
        "status": 422,
        "code": "invalid_input",
        "details": body["details"],
        "retryAfter": None,
        "data": {"current": 4},
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "text/html", "body": "<h1>Welcome to Hotel Wifi</h1>"},
        {"body": "[]"},
        {"body": '{"hello": "world"}'},
    ],
)
def test_a_captive_portal_is_not_an_answer(client: Any, answer: dict[str, str]) -> None:
    """200 with anything but the envelope is an error, for reads and for writes."""
    for call in ("service.getEventInventory()", "service.updateSetting('a', 1)"):
        ran = client(f"return {call}", answer)
        assert ran["error"]["code"] == "not_an_answer"
        assert len(ran["calls"]) == 1


def test_updates_send_what_the_endpoints_expect(client: Any) -> None:
    """Names, ids, spreads in the old spelling, stations as numbers or text."""
    ran = client(
        """
        await service.updateEventInventory('milk', 'Oat', false);
        await service.updateEventInventory('milk', {id: 'm1'}, {enabled: true, color: '#fff'});
        await service.updateEventStock('Oat', {total: 5, allocated: 1, available: 4}, 'milk');
        await service.updateEventStock('Oat', 5);
        await service.updateStationConfig('1', {milk: {m1: true}});
        await service.updateSetting('a', {b: 1}, {ifMatch: 3});
        await service.adjust({stationId: 2, item: 'm1', category: 'milk', delta: -1, floor: 0});
        await service.batchUpdate([{type: 'setting', data: {key: 'a', value: 1}}]);
        """,
        ok(None),
    )
    sent = [(call["url"].removeprefix("http://api/api"), call["body"]) for call in ran["calls"]]
    assert sent == [
        (
            "/inventory/event-inventory/update",
            '{"enabled":false,"category":"milk","item_name":"Oat"}',
        ),
        (
            "/inventory/event-inventory/update",
            '{"enabled":true,"color":"#fff","category":"milk","item_id":"m1"}',
        ),
        (
            "/inventory/event-stock/update",
            '{"total":5,"allocated":1,"available":4,"item_name":"Oat","category":"milk"}',
        ),
        ("/inventory/event-stock/update", '{"total_quantity":5,"item_name":"Oat"}'),
        (
            "/inventory/station-config/update",
            '{"station_id":"1","config_data":{"milk":{"m1":true}}}',
        ),
        ("/inventory/settings/update", '{"key":"a","value":{"b":1}}'),
        (
            "/inventory/adjust",
            '{"category":"milk","delta":-1,"floor":0,"item":"m1","station_id":"2"}',
        ),
        (
            "/inventory/batch-update",
            '{"updates":[{"type":"setting","data":{"key":"a","value":1}}]}',
        ),
    ]
    assert ran["calls"][5]["headers"]["If-Match"] == '"3"'


def test_saving_a_document_that_would_not_be_exact_writes_nothing(client: Any) -> None:
    """Records that the new document lacks are not removed silently, nor kept silently."""
    line = {"key": "event_inventory", "reason": "Merged with what was stored."}
    ran = client("return service.saveEventInventory({})", ok({"keys": [{**line, "exact": False}]}))
    assert ran["error"]["code"] == "not_exact"
    assert [call["url"].partition("?")[2].split("&")[0] for call in ran["calls"]] == [
        "dry_run=true"
    ]
    ran = client("return service.saveEventInventory({})", ok({"keys": [{**line, "exact": True}]}))
    assert "error" not in ran
    assert ran["calls"][1]["body"] == '{"localStorage":{"event_inventory":"{}"}}'


def test_tokens_are_looked_for_where_the_old_client_kept_them(modules: Any) -> None:
    """The tab's session first, then the app's own token; a hook overrules both."""
    seen = modules.evaluate(
        """async () => {
          const { DatabaseInventoryService } =
            await import('http://expresso.test/DatabaseInventoryService.js');
          const seen = [];
          const fetch = async (_, init) => {
            seen.push(init.headers.Authorization ?? null);
            return new Response('{"success":true,"data":{}}',
                                {headers: {'Content-Type': 'application/json'}});
          };
          const service = new DatabaseInventoryService({fetch});
          await service.getAll();
          localStorage.setItem('coffee_system_token', 'app');
          await service.getAll();
          sessionStorage.setItem('expresso_persist_token', 'tab');
          await service.getAll();
          service.configure({getToken: async () => 'hook'});
          await service.getAll();
          return seen;
        }"""
    )
    assert seen == [None, "Bearer app", "Bearer tab", "Bearer hook"]
