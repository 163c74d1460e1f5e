"""The Prometheus servers that the administrator configured. No other server is ever asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

WINDOWS_SECONDS: Final = (60, 120, 300, 600)
"""The only windows that are ever queried, so that objects share queries."""
LEAST_SCRAPES_IN_WINDOW: Final = 4
"""A rate over fewer scrapes is noise, and one lost scrape makes it empty."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Server:
    """How one Prometheus, Thanos, Mimir or VictoriaMetrics is reached, and how its series are labelled.

    Secrets are files, read again for each call: tokens rotate. Proxies and `.netrc` of the environment are not used.

    Raises:
        ValueError: A field is wrong; the text names it and the mend.
    """

    name: str
    url: str
    """http(s) URL without `/api/v1`."""
    matchers: tuple[tuple[str, str], ...] = ()
    """Exact label values that every series must have: `cluster="..."` where a server holds several clusters."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with each request, `X-Scope-OrgID` for one."""
    bearer_token_file: str | None = None
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    timeout_seconds: float = 5.0
    """For all queries of one tick together: a slow server never makes a tick longer than this."""
    scrape_interval_seconds: int = 15
    """How often agents are scraped. Freshness limits and the least rate window follow from it."""
    namespace_label: str = "namespace"
    pod_label: str = "pod"
    target_labels: tuple[str, ...] = ("job", "instance")
    """Labels that tell two scrapes of one pod apart; add the replica label where a server does not deduplicate."""
    max_response_bytes: int = 64 * 1024 * 1024
    parameters: tuple[tuple[str, str], ...] = ()
    """Added to each query: `dedup`, `partial_response` and the like."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"url of server {self.name}: write http://host:port or https://host:port")
        if parts.username or parts.password:
            raise ValueError(f"url of server {self.name}: no credentials in it; use username and password_file")
        for label in (self.namespace_label, self.pod_label, *self.target_labels, *(name for name, _ in self.matchers)):
            if not _LABEL.fullmatch(label):
                raise ValueError(f"server {self.name}: {label!r} is not a label name: letters, digits and '_'")
        for field in ("timeout_seconds", "scrape_interval_seconds", "max_response_bytes"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} of server {self.name}: must be above 0")
        if self.bearer_token_file and self.username:
            raise ValueError(f"server {self.name}: bearer_token_file and username exclude each other")
        if bool(self.username) != bool(self.password_file):
            raise ValueError(f"server {self.name}: username and password_file belong together")
        if self.key_file and not self.cert_file:
            raise ValueError(f"server {self.name}: key_file needs cert_file")

    @property
    def stale_after_seconds(self) -> float:
        """Age from which a scraped sample is not believed: three lost scrapes, at least 10 s."""
        return max(3.0 * self.scrape_interval_seconds, 10.0)

    @property
    def memory_stale_after_seconds(self) -> float:
        """The same for cAdvisor's series: they carry times of their own, which lag, and no staleness marks."""
        return max(3.0 * self.scrape_interval_seconds, 60.0)

    def window(self, seconds: int) -> int:
        """The window that is used instead of `seconds`: the next of the fixed set that holds enough scrapes."""
        least = max(seconds, LEAST_SCRAPES_IN_WINDOW * self.scrape_interval_seconds)
        return next((window for window in WINDOWS_SECONDS if window >= least), WINDOWS_SECONDS[-1])
