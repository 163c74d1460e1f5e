package main

import (
	"strings"
	"testing"
	"time"

	tuning "agentscaler.dev/clients/go"
)

// Every key that AgentFlow's performance guide shows, with its values.
const guide = `
[runner]
max_concurrent_events = 100
event_buffer_size = 1000
worker_pool_size = 50
event_timeout = "30s"
[memory]
state_cache_size = 10000
state_cache_ttl = "1h"
enable_state_compression = true
[performance]
enable_request_batching = true
batch_size = 10
batch_timeout = "100ms"
enable_connection_pooling = true
pool_size = 50
[monitoring]
enable_metrics = true
metrics_interval = "10s"
enable_profiling = true
profile_port = 6060
[llm.azure]
max_connections = 50
min_connections = 5
connection_timeout = "10s"
idle_timeout = "300s"
max_connection_lifetime = "3600s"
[llm.openai]
max_connections = 30
request_timeout = "30s"
retry_max_attempts = 3
retry_initial_interval = "1s"
`

var someDefaults = defaults{
	tuning: tuning.Settings{
		Workers: tuning.Workers{MaxConcurrent: 8}, Cache: tuning.Cache{MaxBytes: 1 << 20, TTLSeconds: 900},
		CircuitBreaker: someBreaker,
	},
	queue:          500,
	requestTimeout: 6 * time.Second,
}

func read(t *testing.T, content string) settings {
	t.Helper()
	found, err := parseFile([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return someDefaults.combine(someDefaults.tuning, found)
}

func TestTheGuidesFileIsInForceKeyByKey(t *testing.T) {
	expected := settings{
		workers: 50, queue: 1000, eventTimeout: 30 * time.Second,
		cacheEntries: 10_000, cacheBytes: 1 << 20, cacheTTL: time.Hour, breaker: someBreaker,
		connections: connections{
			max: 50, dialTimeout: 10 * time.Second, idleTimeout: 5 * time.Minute, requestTimeout: 6 * time.Second,
		},
		retryAttempts: 1, retryInterval: time.Second, metrics: true,
	}
	if got := read(t, guide); got != expected {
		t.Errorf("%+v", got)
	}
	t.Setenv("AGENTFLOW_LLM_PROVIDER", "openai")
	expected.connections = connections{max: 30, requestTimeout: 30 * time.Second}
	expected.retryAttempts = 3
	if got := read(t, guide); got != expected {
		t.Errorf("%+v", got)
	}
}

func TestTheFileGoesBeforeTuningJSONAndThatBeforeTheDefaults(t *testing.T) {
	common := someDefaults.tuning
	common.Workers.MaxConcurrent, common.Cache.TTLSeconds = 12, 60
	silent := someDefaults.combine(common, file{})
	if silent.workers != 12 || silent.cacheTTL != time.Minute || silent.queue != 500 {
		t.Errorf("%+v", silent)
	}
	own, err := parseFile([]byte("[runner]\nworker_pool_size = 3\n[memory]\nstate_cache_ttl = \"5m\""))
	if err != nil {
		t.Fatal(err)
	}
	if both := someDefaults.combine(common, own); both.workers != 3 || both.cacheTTL != 5*time.Minute {
		t.Errorf("%+v", both)
	}
}

func TestTheLowerOfWorkersAndConcurrentEventsIsTheLimit(t *testing.T) {
	if got := read(t, "[runner]\nworker_pool_size = 9\nmax_concurrent_events = 4"); got.workers != 4 {
		t.Errorf("%+v", got)
	}
}

func TestKeysOfTheUsersOwnAreNoError(t *testing.T) {
	if got := read(t, "[agent_flow]\nname = \"x\"\n[runner]\nworker_pool_size = 9"); got.workers != 9 {
		t.Errorf("%+v", got)
	}
}

func TestABrokenFileIsRefused(t *testing.T) {
	for _, content := range []string{
		"[runner", "[runner]\nworker_pool_size = \"many\"", "[runner]\nworker_pool_size = 0", "[runner]\nworker_pool_size = 1.5",
		"[runner]\nevent_timeout = \"30\"", "[runner]\nevent_timeout = \"-1s\"", "[runner]\nevent_timeout = 30",
		"[memory]\nstate_cache_size = -1", "[runner]\nmax_concurrent_events = 4294967296",
		"[llm.openai]\nretry_max_attempts = -1", "[performance]\nbatch_size = true",
	} {
		if found, err := parseFile([]byte(content)); err == nil || !strings.Contains(err.Error(), fileName) {
			t.Errorf("%q: %+v, %v", content, found, err)
		}
	}
}
