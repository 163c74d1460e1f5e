"""The Prometheus servers that the administrator configured. No other server is ever asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from agentscaler.signals import placeholders

WINDOWS_SECONDS: Final = (60, 120, 300, 600)
"""The only windows that are ever queried, so that objects share queries."""
LEAST_SCRAPES_IN_WINDOW: Final = 4
"""A rate over fewer scrapes is noise, and one lost scrape makes it empty."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Server:
    """How one Prometheus, Thanos, Mimir or VictoriaMetrics is reached, and how its series are labelled.

    Secrets are files, read again for each call or when they change: tokens and certificates rotate. A missing file or
    URL is no error here: see `credentials.lacking`. Proxies and `.netrc` of the environment are not used.

    Raises:
        ValueError: A field is wrong; the text names it and the mend.
    """

    name: str
    url: str = ""
    """http(s) URL without `/api/v1`. Empty: not known yet."""
    matchers: tuple[tuple[str, str], ...] = ()
    """Exact label values that every series must have: `cluster="..."` where a server holds several clusters."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with each request, `X-Scope-OrgID` for one."""
    header_files: tuple[tuple[str, str], ...] = ()
    """The same, with values out of files."""
    bearer_token_file: str | None = None
    username: str | None = None
    username_file: str | None = None
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

    demand_templates: tuple[tuple[str, str], ...] = ()
    """PromQL of demand outside of agents, by name, with placeholders such as `queue="${queue}"`. `${namespace}` and
    `${name}` are those of the object; mandatory matchers are not added to it."""

    def __post_init__(self) -> None:
        if self.url:
            self._check_url()
        for label in (self.namespace_label, self.pod_label, *self.target_labels, *(name for name, _ in self.matchers)):
            if not _LABEL.fullmatch(label):
                raise ValueError(f"server {self.name}: {label!r} is not a label name: letters, digits and '_'")
        for field in ("timeout_seconds", "scrape_interval_seconds", "max_response_bytes"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} of server {self.name}: must be above 0")
        for name, promql in self.demand_templates:
            try:
                placeholders.check(name, promql)
            except ValueError as error:
                raise ValueError(f"server {self.name}: {error}") from None
        self._check_credentials()

    def _check_url(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"url of server {self.name}: write http://host:port or https://host:port")
        if parts.username or parts.password:
            raise ValueError(f"url of server {self.name}: no credentials in it; use username and password_file")

    def _check_credentials(self) -> None:
        user = self.username or self.username_file
        if self.username and self.username_file:
            raise ValueError(f"server {self.name}: username and username_file exclude each other")
        if self.bearer_token_file and (user or self.password_file):
            raise ValueError(f"server {self.name}: bearer_token_file and username exclude each other")
        if bool(user) != bool(self.password_file):
            raise ValueError(f"server {self.name}: username and password_file belong together")
        if self.key_file and not self.cert_file:
            raise ValueError(f"server {self.name}: key_file needs cert_file")
        for name, value in self.headers:
            # The value is not shown: it may be a secret.
            if not _HEADER.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise ValueError(
                    f"server {self.name}: header {name!r} or its value is not valid: use one line of ASCII"
                )
        names = [name.lower() for name, _ in (*self.headers, *self.header_files)]
        if bad := next((name for name, _ in self.header_files if not _HEADER.fullmatch(name)), ""):
            raise ValueError(f"server {self.name}: {bad!r} is not the name of a header: use letters, digits and '-'")
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"server {self.name}: header {twice} is given twice: remove one of the two")
        if "authorization" in names and (self.bearer_token_file or user):
            raise ValueError(f"server {self.name}: header Authorization and credentials exclude each other")

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
