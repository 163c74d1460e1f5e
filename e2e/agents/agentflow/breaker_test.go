package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	tuning "agentscaler.dev/clients/go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var someBreaker = tuning.CircuitBreaker{
	FailureRateThresholdPercent: 50, WaitDurationInOpenStateSeconds: 30, SlidingWindowSeconds: 60,
	MinimumNumberOfCalls: 4, PermittedCallsInHalfOpenState: 2,
}

func newBreaker() *breaker {
	m := newMetrics(prometheus.NewRegistry(), "agent")
	return &breaker{settings: someBreaker, calls: m.calls, errors: m.errors}
}

// runOf is what a run of one call comes to.
func runOf(b *breaker, result error) error {
	kept, err := b.reserve()
	if err != nil {
		return err
	}
	defer b.cancel(kept)
	return b.call(kept, func() error { return result })
}

var failing = &upstreamFailure{"5xx", errors.New("503")}

func expectState(t *testing.T, b *breaker, want state) {
	t.Helper()
	if got := b.now(); got != want {
		t.Fatalf("state %d, not %d", got, want)
	}
}

func TestFailuresOpenTheBreakerAndGoodTrialsCloseIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		for _, result := range []error{nil, nil, failing} {
			_ = runOf(b, result)
		}
		expectState(t, b, closed) // fewer than the minimum
		_ = runOf(b, failing)
		expectState(t, b, open)
		var refused *circuitOpen
		if err := runOf(b, nil); !errors.As(err, &refused) || refused.retryAfter != 30*time.Second {
			t.Fatalf("not refused: %v", err)
		}
		time.Sleep(30 * time.Second)
		expectState(t, b, halfOpen)
		first, err := b.reserve()
		if err != nil {
			t.Fatal(err)
		}
		if err := runOf(b, nil); err != nil {
			t.Fatal(err)
		}
		if b.check() == nil {
			t.Fatal("a third trial is admitted")
		}
		if err := b.call(first, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		expectState(t, b, closed)
		if calls := testutil.ToFloat64(b.calls.WithLabelValues("failure")); calls != 2 {
			t.Fatalf("%v failures", calls)
		}
	})
}

func TestAFailedTrialOpensItAgainAndARetuneShortensTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		for range 4 {
			_ = runOf(b, failing)
		}
		time.Sleep(30 * time.Second)
		_ = runOf(b, failing)
		expectState(t, b, open)
		shorter := someBreaker
		shorter.WaitDurationInOpenStateSeconds = 1
		b.retune(shorter)
		time.Sleep(time.Second)
		expectState(t, b, halfOpen)
	})
}

func TestATrialThatNobodyUsesGoesToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		for range 4 {
			_ = runOf(b, failing)
		}
		time.Sleep(30 * time.Second)
		for range 2 {
			if _, err := b.reserve(); err != nil {
				t.Fatal(err)
			}
		}
		if b.check() == nil {
			t.Fatal("more trials than permitted")
		}
		time.Sleep(trialKept)
		if err := b.check(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatSaysNothingAboutTheUpstreamCountsNeitherWay(t *testing.T) {
	b := newBreaker()
	for range 10 {
		_ = runOf(b, &upstreamFailure{"", errors.New("400")})
		_ = runOf(b, context.Canceled)
	}
	expectState(t, b, closed)
	if calls := testutil.ToFloat64(b.calls.WithLabelValues("failure")); calls != 0 {
		t.Fatalf("%v failures", calls)
	}
}

func TestOldCallsLeaveTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		for range 3 {
			_ = runOf(b, failing)
		}
		time.Sleep(time.Minute)
		_ = runOf(b, failing)
		expectState(t, b, closed)
	})
}
