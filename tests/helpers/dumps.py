"""Small localStorage dumps, made up."""

from __future__ import annotations

SMALL = {
    "origin": "http://coffee.test",
    "device_id": "ipad-1",
    "localStorage": {
        "event_inventory": '{"milk":[{"id":"m1","name":"Oat","enabled":true}]}',
        "event_menu_version": "2.0",
        "coffee_cue_selected_station": "3",
        "coffee_system_token": "not-a-real-token-but-refused",
        "use_fallback_data": "false",
    },
}
BROKEN = {"localStorage": {"event_menu": '{"latte":', "coffee_wait_time": "6"}}
