package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	memoryFactorMax = 100
	keyLengthMax    = 200
	bodyBytesMax    = 1 << 20
)

// server is the HTTP side, with the paths and answers of the reference agent.
type server struct {
	agent *agent
	shape *shape
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", s.run)
	scrape := promhttp.HandlerFor(s.agent.metrics.registry, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if s.agent.inForce().metrics {
			scrape.ServeHTTP(w, r)
		} else {
			http.Error(w, "monitoring.enable_metrics is false", http.StatusNotFound)
		}
	})
	alive := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "alive") }
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.agent.draining.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready")
	})
	return mux
}

func (s *server) run(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key, factor, err := parseRun(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	work := s.shape.draw(key, factor)
	contextBytes, err := s.agent.run(r.Context(), work, func(wait time.Duration) {
		w.Header().Set("X-Queue-Wait-Seconds", fmt.Sprintf("%.3f", wait.Seconds()))
	})
	var refusal *rejection
	var refused *circuitOpen
	var failure *upstreamFailure
	switch {
	case err == nil:
		answer(w, http.StatusOK, map[string]any{"key": work.key, "context_bytes": contextBytes})
	case errors.As(err, &refusal):
		w.Header().Set("Retry-After", fmt.Sprint(math.Ceil(refusal.retryAfter.Seconds())))
		answer(w, http.StatusServiceUnavailable, map[string]any{"rejected": refusal.reason})
	case errors.As(err, &refused):
		answer(w, http.StatusBadGateway, map[string]any{"error": "circuit_open"})
	case errors.As(err, &failure) && failure.kind != "":
		answer(w, http.StatusBadGateway, map[string]any{"error": failure.kind})
	case errors.Is(err, errEventTimeout):
		answer(w, http.StatusBadGateway, map[string]any{"error": "timeout"})
	case errors.Is(err, context.Canceled): // nobody is there to hear it
	default:
		slog.Error("a run failed", "why", err)
		answer(w, http.StatusBadGateway, map[string]any{"error": "upstream"})
	}
}

func answer(w http.ResponseWriter, status int, document map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

// parseRun reads {"key": text, "memory_factor": number}, both optional.
func parseRun(body []byte) (key string, factor float64, err error) {
	factor = 1
	if len(body) == 0 {
		return key, factor, nil
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(body, &document); err != nil || document == nil {
		return "", 0, fmt.Errorf("not a JSON object: %v", err)
	}
	for name, value := range document {
		switch {
		case name == "key" && string(value) != "null":
			err = json.Unmarshal(value, &key)
			if err == nil && (!utf8.Valid(value) || utf8.RuneCountInString(key) > keyLengthMax) {
				err = fmt.Errorf("key must be a string of at most %d characters", keyLengthMax)
			}
		case name == "key":
		case name == "memory_factor":
			err = json.Unmarshal(value, &factor)
			if err == nil && (string(value) == "null" || factor < 0 || factor > memoryFactorMax) {
				err = fmt.Errorf("memory_factor must be a number from 0 to %d", memoryFactorMax)
			}
		default:
			err = errors.New(`expected an object with "key" and "memory_factor", both optional`)
		}
		if err != nil {
			return "", 0, err
		}
	}
	return key, factor, nil
}
