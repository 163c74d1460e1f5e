package tuning_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	tuning "agentscaler.dev/clients/go"
)

func Example() {
	defaults := tuning.Settings{
		Workers: tuning.Workers{MaxConcurrent: 8},
		Cache:   tuning.Cache{MaxBytes: 64 << 20, TTLSeconds: 900},
		// CircuitBreaker: leave out what your agent does not have
	}
	native := tuning.Native[string]{} // or the file of your framework: its name, and how to read it
	apply := func(settings tuning.Settings, _ string) {
		fmt.Println("workers:", settings.Workers.MaxConcurrent) // here: resize your pool
	}
	apply(defaults, "")
	watcher := tuning.New("testdata", defaults, native, prometheus.DefaultRegisterer, apply)
	watcher.Poll() // what is there already, before the first run
	// go watcher.Run(ctx), and serve prometheus.DefaultGatherer at /metrics
	// Output:
	// workers: 8
	// workers: 12
}
