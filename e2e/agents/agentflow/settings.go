package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	tuning "agentscaler.dev/clients/go"
	"github.com/BurntSushi/toml"
)

const fileName = "agentflow.toml"

// file is agentflow.toml as AgentFlow's performance guide shows it; nil: the file does not say.
//
// What stands here and in no field of settings is read, so that a wrong type is told, and has nothing to act on in this
// agent: its provider has no call for batches, its state is not compressible, and net/http closes connections by
// idleness, not by age.
type file struct {
	Runner struct {
		MaxConcurrentEvents *int      `toml:"max_concurrent_events"`
		EventBufferSize     *int      `toml:"event_buffer_size"`
		WorkerPoolSize      *int      `toml:"worker_pool_size"`
		EventTimeout        *duration `toml:"event_timeout"`
	} `toml:"runner"`
	Memory struct {
		StateCacheSize         *int      `toml:"state_cache_size"`
		StateCacheTTL          *duration `toml:"state_cache_ttl"`
		EnableStateCompression *bool     `toml:"enable_state_compression"`
	} `toml:"memory"`
	Performance struct {
		EnableRequestBatching   *bool     `toml:"enable_request_batching"`
		BatchSize               *int      `toml:"batch_size"`
		BatchTimeout            *duration `toml:"batch_timeout"`
		EnableConnectionPooling *bool     `toml:"enable_connection_pooling"`
		PoolSize                *int      `toml:"pool_size"`
	} `toml:"performance"`
	Monitoring struct {
		EnableMetrics   *bool     `toml:"enable_metrics"`
		MetricsInterval *duration `toml:"metrics_interval"`
		EnableProfiling *bool     `toml:"enable_profiling"`
		ProfilePort     *int      `toml:"profile_port"`
	} `toml:"monitoring"`
	LLM struct {
		Provider string   `toml:"provider"`
		Azure    provider `toml:"azure"`
		OpenAI   provider `toml:"openai"`
	} `toml:"llm"`
}

// provider is one of the [llm.*] sections.
type provider struct {
	MaxConnections        *int      `toml:"max_connections"`
	MinConnections        *int      `toml:"min_connections"`
	ConnectionTimeout     *duration `toml:"connection_timeout"`
	IdleTimeout           *duration `toml:"idle_timeout"`
	MaxConnectionLifetime *duration `toml:"max_connection_lifetime"`
	RequestTimeout        *duration `toml:"request_timeout"`
	RetryMaxAttempts      *int      `toml:"retry_max_attempts"`
	RetryInitialInterval  *duration `toml:"retry_initial_interval"`
}

// duration is a Go duration in a string, "30s".
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err == nil && parsed < 0 {
		err = fmt.Errorf("%s is below 0", parsed)
	}
	*d = duration(parsed)
	return err
}

// parseFile reads an agentflow.toml. Keys that it does not know are logged and have no effect.
func parseFile(content []byte) (file, error) {
	var found file
	meta, err := toml.Decode(string(content), &found)
	if err != nil {
		return file{}, fmt.Errorf("%s: %w", fileName, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		slog.Warn(fileName+" has keys that this agent does not know", "keys", unknown)
	}
	return found, errors.Join(
		within("runner.max_concurrent_events", found.Runner.MaxConcurrentEvents, 1),
		within("runner.event_buffer_size", found.Runner.EventBufferSize, 0),
		within("runner.worker_pool_size", found.Runner.WorkerPoolSize, 1),
		within("memory.state_cache_size", found.Memory.StateCacheSize, 0),
		within("performance.pool_size", found.Performance.PoolSize, 1),
		within("llm.azure.max_connections", found.LLM.Azure.MaxConnections, 1),
		within("llm.openai.max_connections", found.LLM.OpenAI.MaxConnections, 1),
		within("llm.azure.retry_max_attempts", found.LLM.Azure.RetryMaxAttempts, 0),
		within("llm.openai.retry_max_attempts", found.LLM.OpenAI.RetryMaxAttempts, 0),
	)
}

func within(key string, value *int, minimum int) error {
	if value == nil || *value >= minimum && *value <= math.MaxInt32 {
		return nil
	}
	return fmt.Errorf("%s: %s must be at least %d and below 2^31, not %d", fileName, key, minimum, *value)
}

// settings are what is in force: agentflow.toml, where it is silent tuning.json, else the defaults.
type settings struct {
	workers       int
	queue         int
	eventTimeout  time.Duration // 0: a run may take as long as it wants
	cacheEntries  int
	cacheBytes    int64
	cacheTTL      time.Duration
	breaker       tuning.CircuitBreaker
	connections   connections
	retryAttempts int
	retryInterval time.Duration
	metrics       bool
}

// connections is how the provider is reached.
type connections struct {
	max            int // 0: as many as needed
	dialTimeout    time.Duration
	idleTimeout    time.Duration
	requestTimeout time.Duration
}

// defaults are what the command line says.
type defaults struct {
	tuning         tuning.Settings
	queue          int
	requestTimeout time.Duration
}

func (d defaults) combine(t tuning.Settings, f file) settings {
	llm := f.LLM.Azure // the provider of the guide's own example
	if cmp.Or(os.Getenv("AGENTFLOW_LLM_PROVIDER"), f.LLM.Provider) == "openai" {
		llm = f.LLM.OpenAI
	}
	pool := 0
	if or(f.Performance.EnableConnectionPooling, false) {
		pool = or(f.Performance.PoolSize, 0)
	}
	workers := or(f.Runner.WorkerPoolSize, int(t.Workers.MaxConcurrent))
	return settings{
		// Either of the two keeps an event from being handled.
		workers:      min(workers, or(f.Runner.MaxConcurrentEvents, workers)),
		queue:        or(f.Runner.EventBufferSize, d.queue),
		eventTimeout: time.Duration(or(f.Runner.EventTimeout, 0)),
		cacheEntries: or(f.Memory.StateCacheSize, math.MaxInt32),
		cacheBytes:   t.Cache.MaxBytes,
		cacheTTL:     time.Duration(or(f.Memory.StateCacheTTL, duration(t.Cache.TTLSeconds)*duration(time.Second))),
		breaker:      t.CircuitBreaker,
		connections: connections{
			max:            or(llm.MaxConnections, pool),
			dialTimeout:    time.Duration(or(llm.ConnectionTimeout, 0)),
			idleTimeout:    time.Duration(or(llm.IdleTimeout, 0)),
			requestTimeout: time.Duration(or(llm.RequestTimeout, duration(d.requestTimeout))),
		},
		retryAttempts: or(llm.RetryMaxAttempts, 1),
		retryInterval: time.Duration(or(llm.RetryInitialInterval, duration(time.Second))),
		metrics:       or(f.Monitoring.EnableMetrics, true),
	}
}

func or[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}
