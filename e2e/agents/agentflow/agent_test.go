package main

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"sort"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func agentAt(t *testing.T, provider http.HandlerFunc, change func(*settings)) *agent {
	server := httptest.NewServer(provider)
	t.Cleanup(server.Close)
	a := newAgent(newMetrics(prometheus.NewRegistry(), "agent"), &gate{}, &upstream{url: server.URL})
	wanted := someDefaults.combine(someDefaults.tuning, file{})
	change(&wanted)
	a.retune(wanted)
	return a
}

func oneRun(t *testing.T, a *agent) error {
	_, err := a.run(t.Context(), job{key: "key", answerSeconds: []float64{0}}, func(time.Duration) {})
	return err
}

func TestACallIsRepeatedAsOftenAsTheSettingsSay(t *testing.T) {
	var calls atomic.Int32
	a := agentAt(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, func(s *settings) { s.retryAttempts, s.retryInterval = 3, time.Millisecond })
	if err := oneRun(t, a); err != nil || calls.Load() != 4 { // the third attempt of the first call, then the second call
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	if failures := testutil.ToFloat64(a.metrics.errors.WithLabelValues("5xx")); failures != 2 {
		t.Errorf("%v failures", failures)
	}
}

func TestAnEventThatTakesTooLongEndsAndIsHeldAgainstTheUpstream(t *testing.T) {
	released := make(chan struct{})
	a := agentAt(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	}, func(s *settings) { s.eventTimeout = 50 * time.Millisecond })
	defer close(released)
	if err := oneRun(t, a); !errors.Is(err, errEventTimeout) {
		t.Error(err)
	}
	timeouts := a.metrics.errors.WithLabelValues("timeout")
	for deadline := time.Now().Add(time.Minute); testutil.ToFloat64(timeouts) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if counted := testutil.ToFloat64(timeouts); counted != 1 {
		t.Errorf("%v time-outs", counted)
	}
	if _, running, _ := a.limiter.counts(); running != 0 {
		t.Errorf("%d run", running)
	}
}

func TestWorkHasTheMeasuredShape(t *testing.T) {
	s := newShape(1, 1, 1, 0, 1)
	var seconds, held, peak []float64
	for range 20_000 {
		job := s.draw("", 1)
		whole := job.contextSeconds
		for _, each := range job.answerSeconds {
			whole += each
		}
		seconds = append(seconds, whole)
		held = append(held, float64(job.heldBytes)/1e6)
		peak = append(peak, float64(job.heldBytes+job.excursionBytes)/1e6)
	}
	for _, values := range [][]float64{seconds, held, peak} {
		sort.Float64s(values)
	}
	for _, each := range []struct {
		values             []float64
		quantile, expected float64
	}{
		{seconds, 0.5, 6.1}, {seconds, 0.95, 28}, {seconds, 0.99, 60}, {held, 0.5, 210},
		{peak, 0.5, 291}, {peak, 0.9, 441}, {peak, 0.99, 2050},
	} {
		if got := each.values[int(each.quantile*20_000)]; math.Abs(got/each.expected-1) > 0.08 {
			t.Errorf("quantile %v is %v, measured %v", each.quantile, got, each.expected)
		}
	}
	if one, other := s.draw("same", 1), s.draw("same", 1); one.resultBytes != other.resultBytes {
		t.Error("a key has more than one size")
	}
}
