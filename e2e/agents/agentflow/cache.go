package main

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const entryOverheadBytes = 200 // of an entry without its key and block: list element, map slot, headers

type entry struct {
	key      string
	block    *block
	bytes    int64
	storedAt time.Time
}

// load is one under way: who asks for the same key meanwhile waits for it.
type load struct {
	done    chan struct{}
	cancel  context.CancelCauseFunc
	callers int
	block   *block
	err     error
}

// cache holds blocks by key, bounded by bytes, entries and age; the least recently used goes first.
type cache struct {
	hits, misses, evictions, expired prometheus.Counter

	mu         sync.Mutex
	maxBytes   int64
	maxEntries int
	ttl        time.Duration
	bytes      int64
	used       *list.List // of *entry, the latest used in front
	entries    map[string]*list.Element
	loads      map[string]*load
}

func newCache(m *metrics) *cache {
	return &cache{
		hits: m.cacheHits, misses: m.cacheMisses, evictions: m.cacheEvictions, expired: m.cacheExpired,
		used: list.New(), entries: map[string]*list.Element{}, loads: map[string]*load{},
	}
}

// get gives the block of a key; what is missing is loaded once, however many ask at that time. A load goes on while at
// least one of them waits for it. The caller must release the block.
func (c *cache) get(ctx context.Context, key string, fetch func(context.Context) (*block, error)) (*block, error) {
	c.mu.Lock()
	if element, found := c.entries[key]; found && !c.dropIfExpired(element) {
		c.used.MoveToFront(element)
		found := element.Value.(*entry).block
		found.hold()
		c.mu.Unlock()
		c.hits.Inc()
		return found, nil
	}
	running, found := c.loads[key]
	if found {
		c.hits.Inc()
	} else {
		c.misses.Inc()
		loadContext, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		running = &load{done: make(chan struct{}), cancel: cancel}
		c.loads[key] = running
		go c.load(loadContext, key, running, fetch)
	}
	running.callers++
	c.mu.Unlock()

	defer func() { c.leave(key, running, context.Cause(ctx)) }()
	select {
	case <-running.done:
		if running.err != nil {
			return nil, running.err
		}
		running.block.hold()
		return running.block, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *cache) load(ctx context.Context, key string, running *load, fetch func(context.Context) (*block, error)) {
	running.block, running.err = fetch(ctx)
	c.mu.Lock()
	if c.loads[key] == running {
		delete(c.loads, key)
		if running.err == nil {
			c.store(key, running.block)
		}
	}
	abandoned := running.callers == 0
	close(running.done)
	c.mu.Unlock()
	if abandoned && running.err == nil {
		running.block.release()
	}
}

// leave ends a caller's part in a load; the last one ends the load, and gives back what the load itself holds.
func (c *cache) leave(key string, running *load, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	running.callers--
	if running.callers > 0 {
		return
	}
	running.cancel(cause)
	select {
	case <-running.done:
		if running.err == nil {
			running.block.release()
		}
	default: // nobody must join a load that is being cancelled
		if c.loads[key] == running {
			delete(c.loads, key)
		}
	}
}

// retune puts other bounds in force, also on what is stored already.
func (c *cache) retune(maxBytes int64, maxEntries int, ttl time.Duration) {
	c.mu.Lock()
	c.maxBytes, c.maxEntries, c.ttl = maxBytes, maxEntries, ttl
	c.evict(c.maxBytes, c.maxEntries)
	c.mu.Unlock()
	c.sweep()
}

// sweep drops what has expired.
func (c *cache) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for element := c.used.Front(); element != nil; {
		next := element.Next()
		c.dropIfExpired(element)
		element = next
	}
}

// halve evicts half of what is held; the bounds stay.
func (c *cache) halve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict(c.bytes/2, c.maxEntries)
}

// sizes are the bytes held and the bound on them.
func (c *cache) sizes() (bytes, maxBytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes, c.maxBytes
}

func (c *cache) store(key string, value *block) {
	bytes := value.size() + int64(len(key)) + entryOverheadBytes
	if bytes > c.maxBytes || c.maxEntries == 0 {
		return // it would push out everything else and still not fit
	}
	if element, found := c.entries[key]; found {
		c.remove(element)
	}
	c.evict(c.maxBytes-bytes, c.maxEntries-1)
	value.hold()
	c.entries[key] = c.used.PushFront(&entry{key, value, bytes, time.Now()})
	c.bytes += bytes
}

func (c *cache) evict(maxBytes int64, maxEntries int) {
	for c.bytes > maxBytes || c.used.Len() > maxEntries {
		c.remove(c.used.Back())
		c.evictions.Inc()
	}
}

func (c *cache) dropIfExpired(element *list.Element) bool {
	if time.Since(element.Value.(*entry).storedAt) < c.ttl {
		return false
	}
	c.remove(element)
	c.expired.Inc()
	return true
}

func (c *cache) remove(element *list.Element) {
	gone := c.used.Remove(element).(*entry)
	delete(c.entries, gone.key)
	c.bytes -= gone.bytes
	gone.block.release()
}
