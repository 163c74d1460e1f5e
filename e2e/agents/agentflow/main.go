// Command agentflow is an agent as AgentFlow's performance guide describes one: it reads agentflow.toml and
// tuning.json while it runs, and serves the guide's metrics. Its work has the measured shape of agent calls.
package main

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	tuning "agentscaler.dev/clients/go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const (
	callTimeoutSeconds = 120.0     // before the time scale; above the longest call of a healthy upstream
	cacheBytes         = 256 << 20 // before the memory scale
)

func main() {
	host := flag.String("host", "127.0.0.1", "")
	port := flag.Int("port", 8080, "")
	directory := flag.String("settings-dir", "", "directory with agentflow.toml and tuning.json (default: AGENTSCALER_SETTINGS_DIR)")
	url := flag.String("upstream", os.Getenv("AZURE_OPENAI_ENDPOINT"), "URL of the model provider")
	name := flag.String("agent-name", "agent", "value of the label agent_name")
	timeScale := flag.Float64("time-scale", 0.05, "")
	callTimeout := flag.Float64("call-timeout-seconds", 0, "of one upstream call, not scaled (default: 120 times the time scale)")
	memoryScale := flag.Float64("memory-scale", 0.05, "")
	memoryLimit := flag.Int64("memory-limit-bytes", 0, "default: the container's limit")
	tailQuantile := flag.Float64("memory-tail-quantile", 0.9, "rarer peaks of memory are cut to it")
	runSeconds := flag.Float64("run-seconds", 0, "of every run, before the time scale (default: as measured)")
	workers := flag.Int64("workers", 8, "used where the files say nothing")
	queue := flag.Int("queue-size", 500, "used where agentflow.toml says nothing")
	drainDelay := flag.Float64("drain-delay-seconds", 1, "")
	drainLinger := flag.Float64("drain-linger-seconds", 1, "")
	seed := flag.Uint64("seed", 0, "")
	flag.Parse()
	if *url == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *callTimeout == 0 {
		*callTimeout = callTimeoutSeconds * *timeScale
	}
	byDefault := defaults{
		tuning: tuning.Settings{
			Workers: tuning.Workers{MaxConcurrent: *workers},
			Cache:   tuning.Cache{MaxBytes: int64(cacheBytes * *memoryScale), TTLSeconds: 900},
			CircuitBreaker: tuning.CircuitBreaker{
				FailureRateThresholdPercent: 50, WaitDurationInOpenStateSeconds: 30, SlidingWindowSeconds: 60,
				MinimumNumberOfCalls: 10, PermittedCallsInHalfOpenState: 2,
			},
		},
		queue:          *queue,
		requestTimeout: scaled(*callTimeout),
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	agent := newAgent(
		newMetrics(registry, *name), newGate(*memoryLimit),
		&upstream{url: *url, apiKey: os.Getenv("AZURE_OPENAI_API_KEY")},
	)
	agent.retune(byDefault.combine(byDefault.tuning, file{}))
	native := tuning.Native[file]{Name: fileName, Parse: parseFile}
	watcher := tuning.New(*directory, byDefault.tuning, native, registry, func(common tuning.Settings, own file) {
		agent.retune(byDefault.combine(common, own))
	})
	watcher.Poll()
	go watcher.Run(context.Background())
	go agent.tend(context.Background())

	terminated, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	front := server{agent, newShape(*timeScale, *memoryScale, *tailQuantile, *runSeconds, *seed)}
	served := &http.Server{Handler: front.handler(), ReadHeaderTimeout: 10 * time.Second}
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, strconv.Itoa(*port)))
	if err != nil {
		slog.Error("cannot listen", "why", err)
		os.Exit(1)
	}
	go func() {
		if err := served.Serve(listener); err != http.ErrServerClosed {
			slog.Error("serving ended", "why", err)
			os.Exit(1)
		}
	}()
	<-terminated.Done()
	agent.drain(scaled(*drainDelay), scaled(*drainLinger))
	// The last runs have ended; their answers may still be on the way.
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = served.Shutdown(ending)
}

func scaled(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
