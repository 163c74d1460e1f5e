"""A Prometheus on loopback, with samples of the past where a test wants them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import requests
import yaml

from e2e.harness import tools
from e2e.harness.part import Startable
from e2e.harness.process import REQUEST_SECONDS, START_SECONDS, Process, free_port, serves
from e2e.harness.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Prometheus(Startable):
    """One Prometheus server; a context manager.

    ``process.kill()`` takes it away, ``process.start()`` brings it back on the same port with the same data, and
    ``wait_ready()`` waits until it answers again.

    Args:
        directory: Where data and log are kept; None takes a temporary directory that goes at the end.
        scrape_interval_seconds: Of every job; time-outs are as long.
        http_sd_urls: HTTP service discoveries, asked every second. Labels that they give stand, ``job`` among them.
        static_targets: Address and labels of targets known beforehand. The labels of their own samples come first,
            so that one exporter can speak for many pods.
        native_histograms: Store classic histograms as native ones with custom buckets as well, and native ones as such.
        rules: Content of a rules file.
        extra_flags: Added to the command line.

    Attributes:
        url: Of the server.
        process: The server.
        config: The configuration file; after a change ``reload()``.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        scrape_interval_seconds: int = 5,
        http_sd_urls: Sequence[str] = (),
        static_targets: Sequence[tuple[str, dict[str, str]]] = (),
        native_histograms: bool = False,
        rules: str | None = None,
        extra_flags: Sequence[str] = (),
    ) -> None:
        binaries = tools.ensure("prometheus", "promtool")
        self._promtool = binaries["promtool"]
        self._workspace = Workspace(directory, "prometheus")
        self.directory = self._workspace.path
        self.config = self.directory / "prometheus.yml"
        self._data = self.directory / "data"
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy for 127.0.0.1
        self.process = Process(
            [
                binaries["prometheus"],
                f"--config.file={self.config}",
                f"--storage.tsdb.path={self._data}",
                f"--web.listen-address={address}",
                "--web.enable-lifecycle",
                "--query.timeout=10s",
                "--scrape.discovery-reload-interval=1s",  # new targets are held back for 5 s otherwise
                *extra_flags,
            ],
            self.directory / "logs" / "prometheus.log",
        )
        if rules is not None:
            (self.directory / "rules.yml").write_text(rules)
        configuration = _configuration(
            scrape_interval_seconds, http_sd_urls, static_targets, native_histograms, rules is not None
        )
        self.config.write_text(yaml.safe_dump(configuration, sort_keys=False))

    def start(self) -> None:
        """Start the server; returns when it answers queries."""
        self.process.start()
        self.wait_ready()

    def stop(self) -> None:
        """End the server and remove a temporary directory."""
        self.process.stop()
        self._http.close()
        self._workspace.close()

    def ready(self) -> bool:
        """Whether the server answers queries now."""
        try:
            return serves(f"{self.url}/-/ready")
        except requests.RequestException:
            return False

    def wait_ready(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait until the server answers; raises as `Process.wait_for` does."""
        self.process.wait_for(self.ready, timeout_seconds, "Prometheus")

    def reload(self) -> None:
        """Read the configuration file again; requests.HTTPError when the server refuses it."""
        self._http.post(f"{self.url}/-/reload", timeout=REQUEST_SECONDS).raise_for_status()

    def query(self, promql: str, time: float | None = None) -> list[Any]:
        """The raw result of an instant query.

        Args:
            promql: The expression.
            time: Evaluation time in seconds since the epoch; None is now.

        Raises:
            requests.HTTPError: The server refused; the message is its own.
        """
        form = {"query": promql} if time is None else {"query": promql, "time": repr(time)}
        answer = self._http.post(f"{self.url}/api/v1/query", data=form, timeout=REQUEST_SECONDS)
        if not answer.ok:
            raise requests.HTTPError(f"{answer.status_code}: {answer.text}", response=answer)
        result: list[Any] = answer.json()["data"]["result"]
        return result

    def backfill(self, openmetrics: str) -> None:
        """Put samples of the past into the data; a running server is started anew to see them at once.

        Args:
            openmetrics: OpenMetrics text in which every sample has a timestamp in seconds, ``# EOF`` at its end.

        Raises:
            subprocess.CalledProcessError: promtool refused the text; a note holds what it said.
        """
        running = self.process.alive
        self.process.stop()
        samples = self.directory / "backfill.om"
        samples.write_text(openmetrics)
        argv = [str(self._promtool), "tsdb", "create-blocks-from", "openmetrics", str(samples), str(self._data)]
        try:
            subprocess.run(argv, capture_output=True, text=True, check=True)
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise
        if running:
            self.start()


def _configuration(
    interval_seconds: int,
    http_sd_urls: Sequence[str],
    static_targets: Sequence[tuple[str, dict[str, str]]],
    native_histograms: bool,
    rules: bool,
) -> dict[str, Any]:
    configuration: dict[str, Any] = {
        "global": {
            "scrape_interval": f"{interval_seconds}s",
            "scrape_timeout": f"{interval_seconds}s",
            "evaluation_interval": f"{interval_seconds}s",
        },
        "scrape_configs": [],
    }
    if native_histograms:
        configuration["global"] |= {
            "scrape_native_histograms": True,
            "convert_classic_histograms_to_nhcb": True,
            "always_scrape_classic_histograms": True,
        }
    if rules:
        configuration["rule_files"] = ["rules.yml"]
    jobs = configuration["scrape_configs"]
    if http_sd_urls:
        sources = [{"url": url, "refresh_interval": "1s"} for url in http_sd_urls]
        jobs.append({"job_name": "discovered", "http_sd_configs": sources})
    if static_targets:
        targets = [{"targets": [address], "labels": dict(labels)} for address, labels in static_targets]
        jobs.append({"job_name": "static", "honor_labels": True, "static_configs": targets})
    return configuration
