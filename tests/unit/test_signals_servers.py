from __future__ import annotations

from typing import Any

import pytest

from agentscaler.signals.servers import Server


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "prometheus:9090"}, "url of server main"),
        ({"url": "ftp://host"}, "write http://host:port"),
        ({"url": "http://me:secret@host"}, "use username and password_file"),
        ({"namespace_label": "my-label"}, "not a label name"),
        ({"matchers": (('a="b"} or up{', "x"),)}, "not a label name"),
        ({"timeout_seconds": 0}, "timeout_seconds of server main: must be above 0"),
        ({"bearer_token_file": "a", "username": "b", "password_file": "c"}, "exclude each other"),
        ({"username": "b"}, "belong together"),
        ({"key_file": "k"}, "key_file needs cert_file"),
        ({"password_file": "c"}, "belong together"),
        ({"username": "a", "username_file": "b", "password_file": "c"}, "username and username_file exclude"),
        ({"headers": (("X Y", "secret"),)}, "header 'X Y' or its value is not valid"),
        ({"headers": (("X-Key", "secret\nsecret"),)}, "header 'X-Key' or its value is not valid"),
        ({"header_files": (("X:Y", "f"),)}, "'X:Y' is not the name of a header"),
        ({"headers": (("X-Key", "secret"),), "header_files": (("x-key", "f"),)}, "header x-key is given twice"),
        ({"headers": (("Authorization", "secret"),), "bearer_token_file": "f"}, "credentials exclude each other"),
    ],
)
def test_a_wrong_server_is_refused_with_field_and_mend(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")) as refused:
        Server(**{"name": "main", "url": "http://host:9090", **fields})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("scrape_interval", "asked", "window"),
    [(5, 60, 60), (15, 60, 60), (16, 60, 120), (30, 60, 120), (30, 300, 300), (5, 90, 120), (200, 60, 600)],
)
def test_a_window_holds_at_least_four_scrapes(scrape_interval: int, asked: int, window: int) -> None:
    assert Server("main", "http://host", scrape_interval_seconds=scrape_interval).window(asked) == window


@pytest.mark.parametrize(("scrape_interval", "seconds"), [(1, 10), (5, 15), (15, 45), (60, 180)])
def test_three_lost_scrapes_make_a_sample_stale(scrape_interval: int, seconds: float) -> None:
    assert Server("main", "http://host", scrape_interval_seconds=scrape_interval).stale_after_seconds == seconds
