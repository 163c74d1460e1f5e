package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func someLimiter(limit, queue int) *limiter {
	return &limiter{limit: limit, queue: queue, mayStart: func() bool { return true }, observe: func(time.Duration) {}}
}

func TestRunsStartInTheOrderOfTheirArrivalAndAFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := someLimiter(1, 3)
		if wait, err := l.acquire(t.Context()); wait != 0 || err != nil {
			t.Fatal(wait, err)
		}
		order := make(chan int, 3)
		for number := range 3 {
			go func() {
				if _, err := l.acquire(t.Context()); err == nil {
					order <- number
					l.release()
				}
			}()
			synctest.Wait()
		}
		var refusal *rejection
		if _, err := l.acquire(t.Context()); !errors.As(err, &refusal) || refusal.reason != "queue_full" {
			t.Fatal(err)
		}
		l.release()
		for number := range 3 {
			if got := <-order; got != number {
				t.Errorf("%d came before %d", got, number)
			}
		}
	})
}

func TestFewerWorkersLetTheRunningOnesFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := someLimiter(2, 3)
		for range 2 {
			_, _ = l.acquire(t.Context())
		}
		l.resize(1, 3)
		started := make(chan struct{})
		go func() { _, _ = l.acquire(t.Context()); close(started) }()
		synctest.Wait()
		l.release()
		synctest.Wait()
		if _, running, waiting := l.counts(); running != 1 || waiting != 1 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
		l.release()
		<-started
	})
}

func TestWhateverHappensNoWorkerIsLostAndTheLimitHolds(t *testing.T) {
	l := someLimiter(4, 1000)
	var busy, most atomic.Int32
	var everybody sync.WaitGroup
	for range 500 {
		everybody.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), rand.N(20*time.Millisecond))
			defer cancel()
			if _, err := l.acquire(ctx); err != nil {
				return
			}
			most.Store(max(most.Load(), busy.Add(1)))
			time.Sleep(rand.N(time.Millisecond))
			busy.Add(-1)
			l.release()
		})
	}
	everybody.Wait()
	if _, running, waiting := l.counts(); running != 0 || waiting != 0 || most.Load() > 4 {
		t.Errorf("%d run, %d wait, at most %d at a time", running, waiting, most.Load())
	}
}

func TestADrainRefusesWhoWaitsAndWhoComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := someLimiter(1, 3)
		_, _ = l.acquire(t.Context())
		waited := make(chan error, 1)
		go func() { _, err := l.acquire(t.Context()); waited <- err }()
		synctest.Wait()
		l.shut(rejection{"draining", time.Second})
		_, late := l.acquire(t.Context())
		for _, err := range []error{<-waited, late} {
			var refusal *rejection
			if !errors.As(err, &refusal) || refusal.reason != "draining" {
				t.Error(err)
			}
		}
	})
}

func TestMoreWorkersStartWaitingRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := someLimiter(1, 5)
		_, _ = l.acquire(t.Context())
		for range 3 {
			go func() { _, _ = l.acquire(t.Context()) }()
		}
		synctest.Wait()
		l.resize(3, 5)
		if _, running, waiting := l.counts(); running != 3 || waiting != 1 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
		l.shut(rejection{"draining", time.Second})
	})
}
