package main

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func someCache(maxBytes int64, maxEntries int) *cache {
	c := newCache(newMetrics(prometheus.NewRegistry(), "agent"))
	c.retune(maxBytes, maxEntries, time.Minute)
	return c
}

func small(context.Context) (*block, error) { return newBlock(1) }

func ask(t *testing.T, c *cache, key string) {
	t.Helper()
	found, err := c.get(t.Context(), key, small)
	if err != nil {
		t.Fatal(err)
	}
	found.release()
}

func TestTheLeastRecentlyUsedGoesFirst(t *testing.T) {
	for name, c := range map[string]*cache{"entries": someCache(1<<30, 2), "bytes": someCache(3*4096, 100)} {
		ask(t, c, "a")
		ask(t, c, "b")
		ask(t, c, "a")
		ask(t, c, "c") // pushes b out
		ask(t, c, "a")
		if hits := testutil.ToFloat64(c.hits); hits != 2 {
			t.Errorf("%s: %v hits", name, hits)
		}
		if gone := testutil.ToFloat64(c.evictions); gone != 1 {
			t.Errorf("%s: %v evictions", name, gone)
		}
	}
}

func TestASmallerCacheIsEvictedAtOnceAndAShorterLifeCountsForWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := someCache(1<<30, 100)
		for number := range 10 {
			ask(t, c, strconv.Itoa(number))
		}
		before, _ := c.sizes()
		c.retune(before/2, 100, time.Minute)
		if held, _ := c.sizes(); held > before/2 || held == 0 {
			t.Errorf("%d of %d bytes", held, before)
		}
		time.Sleep(10 * time.Second)
		c.retune(before, 100, 10*time.Second)
		if held, _ := c.sizes(); held != 0 || testutil.ToFloat64(c.expired) != 5 {
			t.Errorf("%d bytes, %v expired", held, testutil.ToFloat64(c.expired))
		}
	})
}

func TestCallersOfOneKeyShareALoadAndOneMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := someCache(1<<30, 100)
		loads := 0
		slow := func(ctx context.Context) (*block, error) {
			loads++
			select {
			case <-time.After(time.Second):
				return newBlock(1)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		impatient, leave := context.WithCancel(t.Context())
		results := make(chan error, 3)
		for _, ctx := range []context.Context{impatient, t.Context(), t.Context()} {
			go func() {
				found, err := c.get(ctx, "the same", slow)
				if err == nil {
					_ = found.data[0] // still mapped
					found.release()
				}
				results <- err
			}()
		}
		synctest.Wait()
		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if loads != 1 || testutil.ToFloat64(c.hits) != 2 || testutil.ToFloat64(c.misses) != 1 {
			t.Errorf("%d loads", loads)
		}
	})
}

func TestALoadThatNobodyWaitsForIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := someCache(1<<30, 100)
		ctx, leave := context.WithTimeoutCause(t.Context(), time.Second, errEventTimeout)
		defer leave()
		ended := make(chan error, 1)
		_, err := c.get(ctx, "key", func(ctx context.Context) (*block, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, ctx.Err()
		})
		if cause := <-ended; cause != errEventTimeout || err != errEventTimeout {
			t.Error(cause, err)
		}
		ask(t, c, "key")
	})
}
