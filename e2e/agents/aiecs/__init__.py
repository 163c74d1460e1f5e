"""An agent on the published package AIECS: its executor, its cache and its metrics, settings by its own variables."""
