package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	tuning "agentscaler.dev/clients/go"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	windowCalls = 30 // a minute of a busy pod holds so many good calls that an outage would take a minute to show
	trialKept   = 30 * time.Second
)

type state int

// The values of agent_breaker_state.
const (
	closed state = iota
	halfOpen
	open
)

// circuitOpen is a call, or a run, that the breaker refused.
type circuitOpen struct{ retryAfter time.Duration }

func (c *circuitOpen) Error() string { return "the circuit is open" }

// upstreamFailure is a call that ended badly; an empty kind says nothing about the upstream's health.
type upstreamFailure struct {
	kind  string // 429, 5xx or timeout
	cause error
}

func (f *upstreamFailure) Error() string { return fmt.Sprintf("upstream %s: %v", f.kind, f.cause) }

func (f *upstreamFailure) Unwrap() error { return f.cause }

// reservation is a trial call kept for a run that was admitted while the breaker was half-open.
type reservation struct {
	epoch    int
	madeAt   time.Time
	used     bool // its call was begun, or the trial given back
	answered bool // the run's latest call succeeded: then it may go on
}

type outcome struct {
	at     time.Time
	failed bool
}

// breaker stops upstream calls while too many fail, then tries a few and resumes or stops again. It is the contract's:
// judged by the share of failures in a window, at admission; AgentFlow's guide has no more than the idea.
type breaker struct {
	calls, errors *prometheus.CounterVec

	mu                       sync.Mutex
	settings                 tuning.CircuitBreaker
	state                    state
	epoch                    int // results of calls from before the last change of state change nothing
	openedAt                 time.Time
	window                   []outcome
	reservations             []*reservation // of this half-open spell, oldest first
	taken, failed, succeeded int64          // trials
}

func (b *breaker) retune(settings tuning.CircuitBreaker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings = settings
	if b.state == halfOpen {
		b.judgeTrials() // fewer trials may be asked for now than have ended already
	}
}

// now is the state now; an open breaker whose wait is over is half-open.
func (b *breaker) now() state {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance()
	return b.state
}

// check tells whether a new run could make calls now.
func (b *breaker) check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refusal()
}

// reserve is a check that keeps a trial call for the run while half-open, so that no more runs start than can call.
func (b *breaker) reserve() (*reservation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refusal(); err != nil {
		return nil, err
	}
	kept := &reservation{epoch: b.epoch, madeAt: time.Now()}
	if b.state != halfOpen {
		kept.used = true
		return kept, nil
	}
	b.taken++
	b.reservations = append(b.reservations, kept)
	return kept, nil
}

// cancel gives a trial call back that a run did not need.
func (b *breaker) cancel(kept *reservation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.giveBack(kept)
}

// call makes one upstream call of a run, or refuses it.
func (b *breaker) call(kept *reservation, send func() error) error {
	epoch, err := b.begin(kept)
	if err != nil {
		return err
	}
	err = send()
	b.end(kept, epoch, err)
	return err
}

func (b *breaker) begin(kept *reservation) (epoch int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ours := kept.epoch == b.epoch // else of an earlier spell
	if ours && !kept.used {
		kept.used = true
		return b.epoch, nil
	}
	// An answered run makes its other calls beyond the permitted ones: half done it would be lost.
	if !ours || !kept.answered {
		if err := b.refusal(); err != nil {
			return 0, err
		}
	}
	if b.state == halfOpen {
		b.taken++
	}
	return b.epoch, nil
}

func (b *breaker) end(kept *reservation, epoch int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var failure *upstreamFailure
	if err != nil && (!errors.As(err, &failure) || failure.kind == "") {
		b.returnTrial(epoch) // cancelled, or a 400: the upstream is not to blame
		return
	}
	kept.answered = err == nil
	if err == nil {
		b.calls.WithLabelValues("success").Inc()
	} else {
		b.calls.WithLabelValues("failure").Inc()
		b.errors.WithLabelValues(failure.kind).Inc()
	}
	switch {
	case epoch != b.epoch:
	case b.state == halfOpen && err == nil:
		b.succeeded++
		b.judgeTrials()
	case b.state == halfOpen:
		b.failed++
		b.judgeTrials()
	default:
		b.judgeWindow(outcome{time.Now(), err != nil})
	}
}

func (b *breaker) judgeWindow(latest outcome) {
	b.window = append(b.window, latest)
	since := latest.at.Add(-seconds(b.settings.SlidingWindowSeconds))
	for len(b.window) > windowCalls || !b.window[0].at.After(since) {
		b.window = b.window[1:]
	}
	calls, failures := int64(len(b.window)), int64(0)
	for _, each := range b.window {
		if each.failed {
			failures++
		}
	}
	// A window of fewer calls than the minimum would never open.
	enough := calls >= min(b.settings.MinimumNumberOfCalls, windowCalls)
	if enough && failures*100 >= b.settings.FailureRateThresholdPercent*calls {
		b.enter(open)
	}
}

// judgeTrials gives the verdict as soon as the trials that are left cannot change it.
func (b *breaker) judgeTrials() {
	trials := b.settings.PermittedCallsInHalfOpenState
	bar := b.settings.FailureRateThresholdPercent * trials
	if b.failed*100 >= bar {
		b.enter(open)
	} else if (trials-b.succeeded)*100 < bar {
		b.enter(closed)
	}
}

func (b *breaker) refusal() error {
	b.advance()
	if b.state == open {
		return &circuitOpen{b.openLeft()}
	}
	if b.state == halfOpen {
		b.lapse()
		if b.taken >= b.settings.PermittedCallsInHalfOpenState {
			return &circuitOpen{time.Second}
		}
	}
	return nil
}

// lapse takes trials back from runs that are busy with something else: they must not keep all the others out.
func (b *breaker) lapse() {
	kept := max(trialKept, seconds(b.settings.WaitDurationInOpenStateSeconds))
	for len(b.reservations) > 0 && time.Since(b.reservations[0].madeAt) >= kept {
		b.giveBack(b.reservations[0])
		b.reservations = b.reservations[1:]
	}
}

func (b *breaker) giveBack(kept *reservation) {
	if !kept.used {
		kept.used = true
		b.returnTrial(kept.epoch)
	}
}

func (b *breaker) returnTrial(epoch int) {
	if epoch == b.epoch && b.state == halfOpen {
		b.taken--
	}
}

func (b *breaker) advance() {
	if b.state == open && b.openLeft() <= 0 {
		b.enter(halfOpen)
	}
}

func (b *breaker) openLeft() time.Duration {
	return time.Until(b.openedAt.Add(seconds(b.settings.WaitDurationInOpenStateSeconds)))
}

func (b *breaker) enter(next state) {
	b.state = next
	b.epoch++
	b.taken, b.failed, b.succeeded = 0, 0, 0
	b.reservations = nil
	if next == open {
		b.openedAt = time.Now()
	} else if next == closed {
		b.window = nil
	}
}

func seconds(whole int64) time.Duration { return time.Duration(whole) * time.Second }
