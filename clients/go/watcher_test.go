package tuning

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// applied is what the agent of a test was given.
type applied struct {
	workers int64
	native  string
}

type stage struct {
	t         *testing.T
	directory string
	registry  *prometheus.Registry
	watcher   *Watcher[string]
	applied   chan applied
	version   int
	// generation is the last one that was applied.
	generation int64
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, directory: t.TempDir(), registry: prometheus.NewRegistry(), applied: make(chan applied, 100)}
	native := Native[string]{Name: "native.txt", Parse: func(content []byte) (string, error) {
		if strings.Contains(string(content), "broken") {
			return "", errors.New("it says so")
		}
		return string(content), nil
	}}
	s.watcher = New(s.directory, defaults, native, s.registry, func(settings Settings, native string) {
		if before := s.watcher.generation.Load(); before != s.generation {
			t.Errorf("generation %d is reported before its settings are in force", before)
		}
		s.applied <- applied{settings.Workers.MaxConcurrent, native}
	})
	return s
}

// swap writes a ConfigMap volume as the kubelet does: a new directory, and ..data swapped over to it.
func (s *stage) swap(files map[string]string) {
	s.version++
	name := fmt.Sprintf("..version_%d", s.version)
	s.must(os.Mkdir(filepath.Join(s.directory, name), 0o755))
	for file, content := range files {
		s.must(os.WriteFile(filepath.Join(s.directory, name, file), []byte(content), 0o600))
		_ = os.Symlink(filepath.Join("..data", file), filepath.Join(s.directory, file))
	}
	old, _ := os.Readlink(filepath.Join(s.directory, "..data"))
	s.must(os.Symlink(name, filepath.Join(s.directory, "..data_tmp")))
	s.must(os.Rename(filepath.Join(s.directory, "..data_tmp"), filepath.Join(s.directory, "..data")))
	if old != "" {
		s.must(os.RemoveAll(filepath.Join(s.directory, old)))
	}
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// expect polls once and compares what was applied (nil: nothing), the generation reported and the errors counted.
func (s *stage) expect(want *applied, generation, failures float64) {
	s.t.Helper()
	s.watcher.Poll()
	s.generation = s.watcher.generation.Load()
	var got *applied
	select {
	case found := <-s.applied:
		got = &found
	default:
	}
	if (got == nil) != (want == nil) || got != nil && *got != *want {
		s.t.Errorf("applied %v, not %v", got, want)
	}
	report := fmt.Sprintf(`
# HELP agent_tuning_applied_generation Generation of the settings in force; 0: no file was applied yet.
# TYPE agent_tuning_applied_generation gauge
agent_tuning_applied_generation %v
# HELP agent_tuning_errors_total Settings files that could not be read or broke the schema, once for each broken content.
# TYPE agent_tuning_errors_total counter
agent_tuning_errors_total %v
`, generation, failures)
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(report)); err != nil {
		s.t.Error(err)
	}
}

func tuningFile(generation, workers int) string {
	return fmt.Sprintf(`{"generation": %d, "workers": {"maxConcurrent": %d}}`, generation, workers)
}

func TestEachSwapOfAConfigMapVolumeIsAppliedOnceAndWhole(t *testing.T) {
	s := newStage(t)
	s.expect(nil, 0, 0)
	for generation := 1; generation <= 3; generation++ {
		s.swap(map[string]string{"tuning.json": tuningFile(generation, 10*generation), "native.txt": fmt.Sprint(generation)})
		s.expect(&applied{int64(10 * generation), fmt.Sprint(generation)}, float64(generation), 0)
		s.expect(nil, float64(generation), 0)
	}
}

func TestABrokenFileOfTheTwoChangesNothingAndCountsOnce(t *testing.T) {
	s := newStage(t)
	s.swap(map[string]string{"tuning.json": tuningFile(1, 5), "native.txt": "good"})
	s.expect(&applied{5, "good"}, 1, 0)
	s.swap(map[string]string{"tuning.json": tuningFile(2, 6), "native.txt": "broken"})
	s.expect(nil, 1, 1)
	s.expect(nil, 1, 1)
	s.swap(map[string]string{"tuning.json": "{", "native.txt": "good"})
	s.expect(nil, 1, 2)
	s.swap(map[string]string{"tuning.json": tuningFile(3, 7), "native.txt": "better"})
	s.expect(&applied{7, "better"}, 3, 2)
}

func TestAFileThatGoesAwayChangesNothing(t *testing.T) {
	s := newStage(t)
	s.swap(map[string]string{"tuning.json": tuningFile(1, 5), "native.txt": "good"})
	s.expect(&applied{5, "good"}, 1, 0)
	s.swap(map[string]string{"tuning.json": tuningFile(2, 6)})
	s.expect(&applied{6, "good"}, 2, 0)
	s.must(os.RemoveAll(s.directory))
	s.expect(nil, 2, 0)
}

func TestAFileThatCannotBeReadIsToldOnceAndRecovers(t *testing.T) {
	s := newStage(t)
	path := filepath.Join(s.directory, "tuning.json")
	s.must(os.Mkdir(path, 0o755))
	s.expect(nil, 0, 1)
	s.expect(nil, 0, 1)
	s.must(os.Remove(path))
	s.must(os.WriteFile(path, nil, 0o600))
	s.expect(nil, 0, 2) // empty is broken, and not missing
	s.must(os.WriteFile(path, []byte(tuningFile(4, 9)), 0o600))
	s.expect(&applied{9, ""}, 4, 2)
}

func TestTheNativeFileAloneIsEnough(t *testing.T) {
	s := newStage(t)
	s.must(os.WriteFile(filepath.Join(s.directory, "native.txt"), []byte("by hand"), 0o600))
	s.expect(&applied{defaults.Workers.MaxConcurrent, "by hand"}, 0, 0)
}

func TestRunFollowsADirectoryThatAppearsLater(t *testing.T) {
	s := newStage(t)
	s.must(os.Remove(s.directory))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.watcher.Run(ctx) }()
	s.must(os.Mkdir(s.directory, 0o755))
	s.swap(map[string]string{"tuning.json": tuningFile(1, 5)})
	select {
	case got := <-s.applied:
		if got != (applied{5, ""}) {
			t.Errorf("applied %v", got)
		}
	case <-time.After(time.Minute):
		t.Error("nothing was applied")
	}
	cancel()
	<-ended
}
