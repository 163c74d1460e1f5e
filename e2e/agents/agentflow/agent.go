package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	excursionShare = 0.4 // of the time of the answer: memory peaks while results are put together
	memoryWait     = 30 * time.Second
	tickInterval   = 250 * time.Millisecond
	retryMemory    = 5 * time.Second
)

var errEventTimeout = errors.New("the event took longer than runner.event_timeout")

// agent is what serves runs: workers, cache, breaker and memory gate, retuned while it runs.
type agent struct {
	metrics  *metrics
	limiter  *limiter
	cache    *cache
	breaker  *breaker
	upstream *upstream
	gate     *gate
	draining atomic.Bool

	mu       sync.Mutex
	settings settings
}

func newAgent(m *metrics, g *gate, u *upstream) *agent {
	a := &agent{
		metrics: m, cache: newCache(m), breaker: &breaker{calls: m.calls, errors: m.errors}, upstream: u, gate: g,
		limiter: &limiter{
			mayStart: g.mayStart,
			observe:  func(wait time.Duration) { m.queueWait.Observe(wait.Seconds()) },
		},
	}
	m.gauge("agent_worker_limit", "Workers in force.", func() float64 { limit, _, _ := a.limiter.counts(); return float64(limit) })
	m.gauge("agent_inflight_requests", "Runs that have a worker now.", func() float64 { _, running, _ := a.limiter.counts(); return float64(running) })
	m.gauge("agent_queue_depth", "Runs that wait for a worker now.", func() float64 { _, _, waiting := a.limiter.counts(); return float64(waiting) })
	m.gauge("agent_cache_bytes", "What the cache holds now.", func() float64 { held, _ := a.cache.sizes(); return float64(held) })
	m.gauge("agent_cache_limit_bytes", "Cache size in force.", func() float64 { _, limit := a.cache.sizes(); return float64(limit) })
	m.gauge("agent_breaker_state", "0 closed, 1 half-open, 2 open.", func() float64 { return float64(a.breaker.now()) })
	return a
}

// retune puts other settings in force; no run is lost, refused or restarted by it.
func (a *agent) retune(wanted settings) {
	a.mu.Lock()
	a.settings = wanted
	a.mu.Unlock()
	a.cache.retune(wanted.cacheBytes, wanted.cacheEntries, wanted.cacheTTL)
	a.breaker.retune(wanted.breaker)
	a.upstream.retune(wanted.connections)
	a.limiter.resize(wanted.workers, wanted.queue)
}

func (a *agent) inForce() settings {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings
}

// run waits for a worker and does a job; waited is told once the job has a worker.
//
// Its errors: rejection, circuitOpen, upstreamFailure, or the context's cause.
func (a *agent) run(ctx context.Context, work job, waited func(time.Duration)) (contextBytes int64, err error) {
	arrived := time.Now()
	wait, kept, err := a.admit(ctx)
	if err != nil {
		var refusal *rejection
		if errors.As(err, &refusal) {
			a.metrics.rejected.WithLabelValues(refusal.reason).Inc()
		}
		return 0, err
	}
	waited(wait)
	status := "error"
	defer func() {
		a.breaker.cancel(kept)
		a.metrics.requests.WithLabelValues(status).Inc()
		a.metrics.duration.WithLabelValues(status).Observe(time.Since(arrived).Seconds())
		a.limiter.release()
	}()
	if timeout := a.inForce().eventTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errEventTimeout)
		defer cancel()
	}
	contextBytes, err = a.work(ctx, work, kept)
	if err == nil {
		status = "success"
	}
	return contextBytes, err
}

func (a *agent) admit(ctx context.Context) (time.Duration, *reservation, error) {
	// An open breaker refuses at once: who waits for a worker to be told no has waited for nothing.
	if err := a.breaker.check(); err != nil {
		return 0, nil, refusedBy(err)
	}
	wait, err := a.limiter.acquire(ctx)
	if err != nil {
		return wait, nil, err
	}
	kept, err := a.breaker.reserve() // it may have opened meanwhile
	if err != nil {
		a.limiter.release()
		return wait, nil, refusedBy(err)
	}
	return wait, kept, nil
}

func refusedBy(err error) error {
	var refusal *circuitOpen
	if errors.As(err, &refusal) {
		return &rejection{"breaker", refusal.retryAfter}
	}
	return err
}

// work looks up the context of a prompt, then asks the upstream for the answer.
func (a *agent) work(ctx context.Context, work job, kept *reservation) (int64, error) {
	held, err := newBlock(work.heldBytes)
	if err != nil {
		return 0, err
	}
	defer held.release()
	found, err := a.cache.get(ctx, work.key, func(ctx context.Context) (*block, error) {
		if err := a.ask(ctx, work.contextSeconds, kept); err != nil {
			return nil, err
		}
		return newBlock(work.resultBytes)
	})
	if err != nil {
		return 0, err
	}
	defer found.release()
	excursion, err := newBlock(work.excursionBytes)
	if err != nil {
		return 0, err
	}
	answering := 0.0
	for _, seconds := range work.answerSeconds {
		answering += seconds
	}
	early := time.AfterFunc(time.Duration(excursionShare*answering*float64(time.Second)), excursion.release)
	defer func() {
		if early.Stop() {
			excursion.release()
		}
	}()
	for _, seconds := range work.answerSeconds {
		if err := a.ask(ctx, seconds, kept); err != nil {
			return 0, err
		}
	}
	return found.size(), nil
}

// ask makes one call, and again after a pause that doubles where the settings allow more attempts.
func (a *agent) ask(ctx context.Context, seconds float64, kept *reservation) error {
	now := a.inForce()
	for attempt, pause := 1, now.retryInterval; ; attempt, pause = attempt+1, 2*pause {
		err := a.breaker.call(kept, func() error { return a.upstream.complete(ctx, seconds) })
		var failure *upstreamFailure
		if !errors.As(err, &failure) || failure.kind == "" || attempt >= now.retryAttempts || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// tend does what is due four times a second: old entries go, and runs that wait for memory start or are refused.
func (a *agent) tend(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	var shutSince, gaveBack time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		a.cache.sweep()
		if a.gate.open() {
			shutSince = time.Time{}
			a.limiter.pump()
			continue
		}
		if shutSince.IsZero() {
			shutSince = time.Now()
		}
		_, running, waiting := a.limiter.counts()
		// While others run, their ends free memory.
		if waiting == 0 || running > 0 && time.Since(shutSince) < memoryWait/2 {
			continue
		}
		if time.Since(gaveBack) > memoryWait/6 {
			gaveBack = time.Now()
			debug.FreeOSMemory()
		} else {
			a.cache.halve()
		}
		if time.Since(shutSince) > memoryWait {
			a.limiter.refuse(rejection{"memory", retryMemory}, memoryWait)
		}
	}
}

// drain makes the agent unready; after the delay it admits nothing, and it returns when the last run has ended.
func (a *agent) drain(delay, linger time.Duration) {
	a.draining.Store(true)
	_, running, _ := a.limiter.counts()
	slog.Info("draining", "running", running)
	time.Sleep(delay) // whoever sends runs needs a moment to see that
	a.limiter.shut(rejection{"draining", time.Second})
	time.Sleep(linger) // late callers get a refusal, not a closed port
	for {
		if _, running, _ := a.limiter.counts(); running == 0 {
			return
		}
		time.Sleep(tickInterval / 10)
	}
}
