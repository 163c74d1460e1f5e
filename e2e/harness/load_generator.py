"""An open-loop Poisson generator of requests, and what it measured."""

import asyncio
import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import aiohttp

MAX_RATE_PER_SECOND = 200.0
MAX_OUTSTANDING = 2_000
MAX_KEYS = 100_000
ENDPOINT_REFRESH_SECONDS = 0.5
QUEUE_WAIT_HEADER = "X-Queue-Wait-Seconds"
SERVICE = "service"  # stands for the pod where a Service picked it
_SERVICE_RETRY_SECONDS = 0.3
_CONNECT_ATTEMPTS, _SERVICE_ATTEMPTS = 3, 30  # a Service may lack a ready pod, or a name server CPU, for a moment
_LATENCY_STATUSES = ("ok", "timeout")

Status = Literal["ok", "error", "rejected", "lost", "timeout"]
STATUSES: tuple[Status, ...] = ("ok", "error", "rejected", "lost", "timeout")


class Record(NamedTuple):
    """One request. Times are Unix seconds; `sent_at` is when it was due, so that a busy generator hides no wait."""

    sent_at: float
    finished_at: float
    status: Status
    latency_seconds: float
    pod: str  # empty: no pod was ready, or none of those asked took the connection
    queue_wait_seconds: float | None  # as the agent reported it; None where it did not


@dataclass(frozen=True)
class Body:
    """What each request asks for."""

    memory_factor: float | None = None
    keys: int = 0  # size of the key space, drawn by Zipf's law (exponent 1); 0 leaves the key to the agent

    def __post_init__(self) -> None:
        if not 0 <= self.keys <= MAX_KEYS:
            raise ValueError(f"keys must be 0..{MAX_KEYS}, not {self.keys}")
        if self.memory_factor is not None and not self.memory_factor > 0:
            raise ValueError(f"memory_factor must be above 0, not {self.memory_factor}")


class Generator:
    """Sends `POST /run` at random times to the ready pod with the fewest of its own outstanding requests.

    Requests that a pod never took (connection refused) go to another one, as a proxy does; nothing else is retried.

    Args:
        endpoints_url: The fleet's `/endpoints` with namespace and name; None: a Service picks the pods.
        service_url: Of that Service. What it refuses is sent again a moment later; no pod's name is known.
        rate_per_second: Mean arrivals; 0 is silence.
        max_duration_seconds: After that nothing more is sent.
        timeout_seconds: Of one request.
        seed: Of arrival times, ties and keys.
        body: See `set_body`.
    """

    def __init__(
        self,
        endpoints_url: str | None,
        *,
        service_url: str | None = None,
        rate_per_second: float,
        max_duration_seconds: float,
        timeout_seconds: float = 120.0,
        seed: int = 0,
        body: Body = Body(),
    ) -> None:
        self.records: list[Record] = []
        self.outstanding: Counter[str] = Counter()
        self.dropped: list[float] = []
        """When requests were due that were not sent, because too many were outstanding."""
        self._endpoints_url = endpoints_url
        self._max_duration_seconds = max_duration_seconds
        self._timeout_seconds = timeout_seconds
        # Three streams: neither answers nor keys may change when the next request comes.
        self._arrivals, self._ties, self._keys = (
            random.Random(f"{seed} {use}") for use in ("arrivals", "ties", "keys")
        )
        self._changed = asyncio.Event()
        self._endpoints: dict[str, str] = {} if service_url is None else {SERVICE: service_url}
        self._in_flight = 0
        self.set_rate(rate_per_second)
        self.set_body(body)

    @property
    def in_flight(self) -> int:
        """Requests without an answer yet."""
        return self._in_flight

    def set_rate(self, rate_per_second: float) -> None:
        """Takes effect at once: the wait for the next arrival is drawn anew.

        Raises:
            ValueError: Not within 0..200.
        """
        if not 0 <= rate_per_second <= MAX_RATE_PER_SECOND:
            raise ValueError(f"the rate must be 0..{MAX_RATE_PER_SECOND:g} a second, not {rate_per_second}")
        self.rate_per_second = rate_per_second
        self._changed.set()

    def set_body(self, body: Body) -> None:
        """What the requests ask for from now on."""
        self.body = body
        self._key_weights = list(accumulate(1 / rank for rank in range(1, body.keys + 1)))

    async def run(self) -> None:
        """Sends until the duration is over, then waits for the answers."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a kept connection may be stale: a false loss
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await self._refresh(session)
            refresher = asyncio.create_task(self._refresh_forever(session))
            try:
                async with asyncio.TaskGroup() as requests:
                    await self._send(session, requests)
            finally:
                refresher.cancel()

    async def _send(self, session: aiohttp.ClientSession, requests: asyncio.TaskGroup) -> None:
        start = due = time.monotonic()
        wall = time.time() - start
        while True:
            self._changed.clear()
            due += self._arrivals.expovariate(self.rate_per_second) if self.rate_per_second else math.inf
            over = start + self._max_duration_seconds
            if await self._changes_before(min(due, over)):
                due = time.monotonic()  # arrivals have no memory: a new draw from now is as random as the old one
            elif due > over:
                return
            elif self._in_flight >= MAX_OUTSTANDING:
                self.dropped.append(wall + due)
            else:
                self._in_flight += 1
                requests.create_task(self._request(session, wall + due))

    async def _changes_before(self, moment: float) -> bool:
        try:
            await asyncio.wait_for(self._changed.wait(), max(0.0, moment - time.monotonic()))
        except TimeoutError:
            return False
        return True

    async def _request(self, session: aiohttp.ClientSession, sent_at: float) -> None:
        status: Status = "error"
        pod, queue_wait = "", None
        refused: set[str] = set()
        body = self._draw_body()
        try:
            for _ in range(_SERVICE_ATTEMPTS if self._endpoints_url is None else _CONNECT_ATTEMPTS):
                candidate = self._pick(refused)
                if candidate is None:
                    break
                self.outstanding[candidate] += 1
                try:
                    status, queue_wait = await _post(session, self._endpoints[candidate], body)
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(_SERVICE_RETRY_SECONDS if candidate == SERVICE else 0)
                    refused |= {candidate} - {SERVICE}
                else:
                    pod = candidate
                    break
                finally:
                    self.outstanding[candidate] -= 1
        finally:
            self._in_flight -= 1
        now = time.time()
        self.records.append(Record(sent_at, now, status, now - sent_at, pod, queue_wait))

    def _pick(self, refused: Iterable[str]) -> str | None:
        names = sorted(self._endpoints.keys() - set(refused))
        if not names:
            return None
        fewest = min(self.outstanding[name] for name in names)
        return self._ties.choice([name for name in names if self.outstanding[name] == fewest])

    def _draw_body(self) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if self.body.memory_factor is not None:
            body["memory_factor"] = self.body.memory_factor
        if self._key_weights:
            body["key"] = f"key-{self._keys.choices(range(self.body.keys), cum_weights=self._key_weights)[0]}"
        return body

    async def _refresh_forever(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(ENDPOINT_REFRESH_SECONDS)
            await self._refresh(session)

    async def _refresh(self, session: aiohttp.ClientSession) -> None:
        if self._endpoints_url is None:
            return
        try:
            async with session.get(self._endpoints_url, timeout=aiohttp.ClientTimeout(total=2)) as response:
                response.raise_for_status()
                self._endpoints = {entry["pod"]: entry["url"] for entry in await response.json()}
        except (aiohttp.ClientError, TimeoutError):
            return  # what was known last is the best guess


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[Status, float | None]:
    try:
        async with session.post(f"{url}/run", data=json.dumps(body), headers={"Content-Type": "application/json"}) as r:
            await r.read()
            wait = r.headers.get(QUEUE_WAIT_HEADER)
            queue_wait = None if wait is None else float(wait)
            if r.ok:
                return "ok", queue_wait
            return ("rejected" if r.status == 503 and "Retry-After" in r.headers else "error"), queue_wait
    except aiohttp.ClientConnectorError:
        raise
    except TimeoutError:
        return "timeout", None
    except (aiohttp.ClientError, ConnectionError):
        return "lost", None


@dataclass(frozen=True)
class Quantiles:
    """Seconds; None without a sample."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Stats:
    """A phase in numbers: the requests that were due within it and have an answer."""

    since: float
    until: float
    finished: int
    counts: dict[str, int]
    dropped: int
    no_endpoint: int
    latency_seconds: Quantiles  # of requests that ended ok or ran into the timeout
    queue_wait_seconds: Quantiles
    reported_queue_waits: int
    late_share: float | None  # of the reported queue waits, above `late_seconds`
    over_latency_share: float | None  # of the ok and timed-out requests, above `latency_target_seconds`
    by_pod: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """As JSON carries it."""
        return asdict(self)


def summarize(
    records: Iterable[Record],
    dropped: Iterable[float] = (),
    *,
    since: float = 0.0,
    until: float = math.inf,
    late_seconds: float = 5.0,
    latency_target_seconds: float = 30.0,
) -> Stats:
    """The requests due in [since, until), in numbers."""
    phase = [record for record in records if since <= record.sent_at < until]
    counts = Counter(record.status for record in phase)
    latencies = sorted(record.latency_seconds for record in phase if record.status in _LATENCY_STATUSES)
    waits = sorted(record.queue_wait_seconds for record in phase if record.queue_wait_seconds is not None)
    return Stats(
        since=since,
        until=min(until, time.time()),
        finished=len(phase),
        counts={status: counts[status] for status in STATUSES},
        dropped=sum(since <= due < until for due in dropped),
        no_endpoint=sum(record.status == "error" and not record.pod for record in phase),
        latency_seconds=_quantiles(latencies),
        queue_wait_seconds=_quantiles(waits),
        reported_queue_waits=len(waits),
        late_share=_share_above(waits, late_seconds),
        over_latency_share=_share_above(latencies, latency_target_seconds),
        by_pod=dict(Counter(record.pod for record in phase if record.pod)),
    )


def _quantiles(ordered: Sequence[float]) -> Quantiles:
    """Nearest rank: a value that was measured."""
    if not ordered:
        return Quantiles(None, None, None)
    p50, p95, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95, 0.99))
    return Quantiles(p50, p95, p99)


def _share_above(values: Sequence[float], limit: float) -> float | None:
    return sum(value > limit for value in values) / len(values) if values else None
