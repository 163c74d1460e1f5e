package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	hugePageBytes    = 2 << 20
	madviseHugePage  = 14
	unlimitedBytes   = 1 << 60 // cgroup v1 writes "no limit" as a number near 2^63
	highWaterPercent = 90
	ramp             = 200 * time.Millisecond
	recovery         = 5 * time.Second
)

var pageBytes = os.Getpagesize()

// block is memory that is really there and, straight from the kernel, really gone with its last holder.
type block struct {
	data    []byte
	holders atomic.Int32
}

// newBlock takes at least so many bytes, for one holder.
func newBlock(size int64) (*block, error) {
	pages := max(1, (size+int64(pageBytes)-1)/int64(pageBytes))
	data, err := syscall.Mmap(-1, 0, int(pages)*pageBytes, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("no memory: %w", err)
	}
	if len(data) >= hugePageBytes {
		_ = syscall.Madvise(data, madviseHugePage) // less CPU time where it is to be had
	}
	for at := 0; at < len(data); at += pageBytes { // the kernel gives a page when it is written to, not before
		data[at] = 1
	}
	b := &block{data: data}
	b.holders.Store(1)
	return b, nil
}

func (b *block) size() int64 { return int64(len(b.data)) }

func (b *block) hold() { b.holders.Add(1) }

func (b *block) release() {
	if b.holders.Add(-1) == 0 {
		_ = syscall.Munmap(b.data)
	}
}

// gate lets no run start while memory is above the high-water mark. After it was shut, runs start one at a time for a
// while: a whole queue let go at once would be past the limit before it could be measured.
type gate struct {
	limit int64
	used  func() (int64, bool)

	mu                     sync.Mutex
	shut                   bool
	recoveredAt, startedAt time.Time
}

// newGate holds the container's working set against its limit, or resident memory against a limit of one's own.
func newGate(limit int64) *gate {
	if limit > 0 {
		return &gate{limit: limit, used: residentBytes}
	}
	for _, names := range [][4]string{ // inside a container its own cgroup is mounted as the root
		{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"},
		{
			"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
			"/sys/fs/cgroup/memory/memory.stat", "total_inactive_file",
		},
	} {
		if limit, known := number(names[0]); known && limit < unlimitedBytes {
			return &gate{limit: limit, used: func() (int64, bool) {
				used, known := number(names[1])
				return used - statistic(names[2], names[3]), known
			}}
		}
	}
	return &gate{} // no limit is known: always open
}

// open tells whether memory is below the mark.
func (g *gate) open() bool {
	if g.limit == 0 {
		return true
	}
	used, known := g.used()
	below := !known || used <= g.limit*highWaterPercent/100
	g.mu.Lock()
	defer g.mu.Unlock()
	if below && g.shut {
		g.recoveredAt = time.Now()
	}
	g.shut = !below
	return below
}

// mayStart tells whether one more run may start; the caller then starts it.
func (g *gate) mayStart() bool {
	if !g.open() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.recoveredAt) < recovery && time.Since(g.startedAt) < ramp {
		return false
	}
	g.startedAt = time.Now()
	return true
}

func residentBytes() (int64, bool) {
	content, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(content))
	if err != nil || len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(pageBytes), err == nil
}

func number(path string) (int64, bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	value, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64) // v2 writes "max" for no limit
	return value, err == nil
}

func statistic(path, name string) int64 {
	content, _ := os.ReadFile(path)
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		if rest, found := strings.CutPrefix(lines.Text(), name+" "); found {
			value, _ := strconv.ParseInt(rest, 10, 64)
			return value
		}
	}
	return 0
}
