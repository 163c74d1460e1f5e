package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// upstream is the model provider, e2e/agents/upstream.py here.
type upstream struct {
	url    string
	apiKey string

	mu          sync.Mutex
	connections connections
	client      *http.Client
}

// retune changes the pool of connections; calls under way end on the one that they began with.
func (u *upstream) retune(wanted connections) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.client != nil && wanted == u.connections {
		return
	}
	before := u.client
	u.connections = wanted
	u.client = &http.Client{
		Timeout: wanted.requestTimeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: wanted.dialTimeout}).DialContext,
			MaxConnsPerHost:     wanted.max,
			MaxIdleConnsPerHost: max(wanted.max, 1000), // at most as many as there are workers: none is closed for its number
			IdleConnTimeout:     wanted.idleTimeout,
		},
	}
	if before != nil {
		before.CloseIdleConnections()
	}
}

// complete asks for an answer that takes so many seconds.
func (u *upstream) complete(ctx context.Context, seconds float64) error {
	body, err := json.Marshal(map[string]float64{"seconds": seconds})
	if err != nil {
		return err
	}
	url := strings.TrimSuffix(u.url, "/") + "/complete"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if u.apiKey != "" {
		request.Header.Set("api-key", u.apiKey)
	}
	u.mu.Lock()
	client := u.client
	u.mu.Unlock()
	response, err := client.Do(request)
	if err == nil {
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
	}
	if err != nil {
		return failureOf(ctx, err)
	}
	switch status := response.StatusCode; {
	case status == http.StatusTooManyRequests:
		return &upstreamFailure{"429", errors.New(response.Status)}
	case status >= 500:
		return &upstreamFailure{"5xx", errors.New(response.Status)}
	case status >= 400:
		return &upstreamFailure{"", fmt.Errorf("refused: %s", response.Status)}
	}
	return nil
}

// failureOf sorts what went wrong on the way.
func failureOf(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case errors.Is(context.Cause(ctx), errEventTimeout):
		return &upstreamFailure{"timeout", errEventTimeout}
	case ctx.Err() != nil:
		return context.Cause(ctx) // the caller gave up
	case errors.As(err, &timeout) && timeout.Timeout():
		return &upstreamFailure{"timeout", err}
	}
	return &upstreamFailure{"5xx", err} // refused, or cut
}
