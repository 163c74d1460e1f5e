package tuning

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const pollInterval = 250 * time.Millisecond

// Native is the settings file of the agent's own framework, which stands beside tuning.json; N is what it says.
type Native[N any] struct {
	Name  string                  // of the file; empty: there is none
	Parse func([]byte) (N, error) // an error leaves the last good settings in force
}

// Watcher applies the settings of a directory whenever they change.
//
// It opens the files by their paths four times a second and compares contents: cheap, in need of no inotify, and not
// fooled by the swap of the symlink ..data in a ConfigMap volume, which silences a watch on a file.
type Watcher[N any] struct {
	directory  string
	defaults   Settings
	native     Native[N]
	apply      func(Settings, N)
	generation atomic.Int64
	errors     prometheus.Counter
	seen       [2][]byte // of tuning.json and the native file: the last content, or why it could not be read
}

// New prepares a watcher and registers agent_tuning_applied_generation and agent_tuning_errors_total.
//
// An empty directory means AGENTSCALER_SETTINGS_DIR, else /etc/agentscaler. Apply gets the settings of both files
// together and returns when all of them are in force. The native value is N's zero value while there is no such file.
func New[N any](
	directory string, defaults Settings, native Native[N], registry prometheus.Registerer, apply func(Settings, N),
) *Watcher[N] {
	directory = cmp.Or(directory, os.Getenv("AGENTSCALER_SETTINGS_DIR"), "/etc/agentscaler")
	w := &Watcher[N]{directory: directory, defaults: defaults, native: native, apply: apply}
	w.errors = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "agent_tuning_errors_total",
		Help: "Settings files that could not be read or broke the schema, once for each broken content.",
	})
	registry.MustRegister(w.errors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "agent_tuning_applied_generation",
		Help: "Generation of the settings in force; 0: no file was applied yet.",
	}, func() float64 { return float64(w.generation.Load()) }))
	return w
}

// Run polls until the context ends.
func (w *Watcher[N]) Run(ctx context.Context) {
	for ctx.Err() == nil {
		w.Poll()
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
}

// Poll applies what is new; call it once before the agent serves, and not beside Run. What is missing or has not
// changed changes nothing. If one of the two files is broken, neither is applied: they belong together.
func (w *Watcher[N]) Poll() {
	contents, err := w.read()
	if reflect.DeepEqual(contents, w.seen) {
		return
	}
	w.seen = contents
	tuning := Tuning{Settings: w.defaults}
	var native N
	if err == nil && contents[0] != nil {
		tuning, err = Parse(contents[0], w.defaults)
	}
	if err == nil && contents[1] != nil {
		native, err = w.native.Parse(contents[1])
	}
	if err != nil {
		w.errors.Inc()
		slog.Error("the settings are broken, the last good ones stay", "why", err)
		return
	}
	if len(tuning.Unknown) > 0 {
		slog.Warn("tuning.json has keys that this agent does not know", "keys", tuning.Unknown)
	}
	w.apply(tuning.Settings, native)
	w.generation.Store(tuning.Generation) // last: it says that all of the above is in force
	slog.Info("settings are in force", "generation", tuning.Generation)
}

// read gives the contents of one moment: where ..data is swapped between the two files, it begins again.
func (w *Watcher[N]) read() (contents [2][]byte, err error) {
	data := filepath.Join(w.directory, "..data")
	for range 3 {
		err = nil
		before, _ := os.Readlink(data)
		for position, name := range []string{"tuning.json", w.native.Name} {
			content, failure := os.ReadFile(filepath.Join(w.directory, name))
			if name == "" || errors.Is(failure, fs.ErrNotExist) {
				content = w.seen[position] // the mount is optional, and a file that goes away changes nothing
			} else if failure != nil {
				content, err = []byte(failure.Error()), failure
			}
			contents[position] = content
		}
		if after, _ := os.Readlink(data); after == before {
			break
		}
	}
	return contents, err
}
