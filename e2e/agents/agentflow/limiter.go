package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// rejection is a run that was refused before it got a worker.
type rejection struct {
	reason     string // as in agent_rejected_total
	retryAfter time.Duration
}

func (r *rejection) Error() string { return "refused: " + r.reason }

type waiter struct {
	arrived time.Time
	turn    chan error // nil: a worker is yours
}

// limiter is a bounded queue, first in first out, in front of a number of workers that can change at any time.
type limiter struct {
	mayStart func() bool // asked before each start; a no leaves the run waiting until the next pump
	observe  func(wait time.Duration)

	mu       sync.Mutex
	limit    int
	queue    int // runs that may wait at a time
	running  int
	waiters  []*waiter
	refusing *rejection // what whoever comes now is told; nil: come in
}

// acquire waits for a worker; who gets one must release it.
func (l *limiter) acquire(ctx context.Context) (wait time.Duration, err error) {
	arrived := time.Now()
	l.mu.Lock()
	if l.refusing != nil {
		defer l.mu.Unlock()
		return 0, l.refusing
	}
	// Who waits already comes first, even if a worker is free while memory is short.
	if len(l.waiters) == 0 && l.running < l.limit && l.mayStart() {
		l.running++
		l.mu.Unlock()
		l.observe(0)
		return 0, nil
	}
	if len(l.waiters) >= l.queue {
		defer l.mu.Unlock()
		return 0, &rejection{"queue_full", time.Second}
	}
	mine := &waiter{arrived, make(chan error, 1)}
	l.waiters = append(l.waiters, mine)
	l.mu.Unlock()
	select {
	case err = <-mine.turn:
	case <-ctx.Done():
		err = l.giveUp(mine, ctx.Err())
	}
	wait = time.Since(arrived)
	l.observe(wait)
	return wait, err
}

// giveUp takes a run out of the queue; a turn that came in the same moment is handed on.
func (l *limiter) giveUp(mine *waiter, cause error) error {
	l.mu.Lock()
	position := slices.Index(l.waiters, mine)
	if position >= 0 {
		l.waiters = slices.Delete(l.waiters, position, position+1)
	}
	l.mu.Unlock()
	if position < 0 {
		if refusal := <-mine.turn; refusal != nil {
			return refusal
		}
		l.release()
	}
	return cause
}

// release gives a worker back.
func (l *limiter) release() {
	l.mu.Lock()
	l.running--
	l.mu.Unlock()
	l.pump()
}

// resize changes the workers and the queue: more start waiting runs at once, fewer let the running ones finish.
func (l *limiter) resize(limit, queue int) {
	l.mu.Lock()
	l.limit, l.queue = limit, queue
	l.mu.Unlock()
	l.pump()
}

// pump starts runs that wait, as far as workers and mayStart allow.
func (l *limiter) pump() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiters) > 0 && l.running < l.limit && l.mayStart() {
		l.running++
		l.waiters[0].turn <- nil
		l.waiters = l.waiters[1:]
	}
}

// refuse tells the runs that have waited for so long to come back later.
func (l *limiter) refuse(why rejection, waited time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiters) > 0 && time.Since(l.waiters[0].arrived) >= waited {
		l.waiters[0].turn <- &why
		l.waiters = l.waiters[1:]
	}
}

// shut refuses what waits and whatever comes from now on.
func (l *limiter) shut(why rejection) {
	l.mu.Lock()
	l.refusing = &why
	l.mu.Unlock()
	l.refuse(why, 0)
}

// counts are workers in force, runs that have one, and runs that wait.
func (l *limiter) counts() (limit, running, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit, l.running, len(l.waiters)
}
