// Package tuning reads the settings that Agentscaler delivers to an agent, while the agent runs.
//
// The contract that it keeps is docs/contract.md of the Agentscaler repository.
package tuning

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxFileBytes  = 64 * 1024 // a file of the operator has less than 1 KiB
	generationMax = 1<<53 - 1 // what every language's JSON numbers hold exactly
)

// Settings are the values of tuning.json over the agent's own defaults. All are whole numbers.
type Settings struct {
	Workers        Workers
	Cache          Cache
	CircuitBreaker CircuitBreaker
}

// Workers bounds concurrent runs.
type Workers struct {
	MaxConcurrent int64 // runs carried out at a time
}

// Cache bounds what is kept.
type Cache struct {
	MaxBytes   int64 // bytes held at most; 0 stores nothing
	TTLSeconds int64 // age at which an entry is no longer used
}

// CircuitBreaker says when upstream calls stop and how they resume; words as in resilience4j.
type CircuitBreaker struct {
	FailureRateThresholdPercent    int64 // share of failed calls in the window at which the breaker opens
	WaitDurationInOpenStateSeconds int64 // how long an open breaker refuses before it tries again
	SlidingWindowSeconds           int64 // age up to which finished calls count
	MinimumNumberOfCalls           int64 // fewer calls than this in the window never open the breaker
	PermittedCallsInHalfOpenState  int64 // trial calls after the wait
}

// Tuning is one valid tuning.json.
type Tuning struct {
	Generation int64    // the writer's number of this file
	Settings   Settings // the file's values over the agent's defaults
	Unknown    []string // keys that this reader does not know, as paths with dots; they have no effect
}

type leaf struct {
	value            *int64
	minimum, maximum int64
}

var sections = []string{"workers", "cache", "circuitBreaker"}

// leaves are the keys by section and name, with the bounds of docs/tuning.schema.json.
func (t *Tuning) leaves() map[[2]string]leaf {
	breaker := &t.Settings.CircuitBreaker
	return map[[2]string]leaf{
		{"", "generation"}:                                   {&t.Generation, 1, generationMax},
		{"workers", "maxConcurrent"}:                         {&t.Settings.Workers.MaxConcurrent, 1, 10_000},
		{"cache", "maxBytes"}:                                {&t.Settings.Cache.MaxBytes, 0, 1 << 40},
		{"cache", "ttlSeconds"}:                              {&t.Settings.Cache.TTLSeconds, 1, 604_800},
		{"circuitBreaker", "failureRateThresholdPercent"}:    {&breaker.FailureRateThresholdPercent, 1, 100},
		{"circuitBreaker", "waitDurationInOpenStateSeconds"}: {&breaker.WaitDurationInOpenStateSeconds, 1, 3_600},
		{"circuitBreaker", "slidingWindowSeconds"}:           {&breaker.SlidingWindowSeconds, 1, 3_600},
		{"circuitBreaker", "minimumNumberOfCalls"}:           {&breaker.MinimumNumberOfCalls, 1, 10_000},
		{"circuitBreaker", "permittedCallsInHalfOpenState"}:  {&breaker.PermittedCallsInHalfOpenState, 1, 1_000},
	}
}

// Parse reads a tuning.json; an absent key leaves the default. What is not JSON or breaks the schema is an error.
func Parse(content []byte, defaults Settings) (Tuning, error) {
	if len(content) > maxFileBytes || !utf8.Valid(content) {
		return Tuning{}, fmt.Errorf("tuning.json must hold at most %d bytes of UTF-8", maxFileBytes)
	}
	tuning := Tuning{Settings: defaults}
	if err := tuning.read("", content, tuning.leaves()); err != nil {
		return Tuning{}, err
	}
	if tuning.Generation == 0 {
		return Tuning{}, errors.New("generation is missing")
	}
	return tuning, nil
}

func (t *Tuning) read(section string, raw []byte, leaves map[[2]string]leaf) error {
	var found map[string]json.RawMessage // encoding/json matches the fields of structs in any case
	err := json.Unmarshal(raw, &found)
	if err != nil || found == nil {
		return fmt.Errorf("tuning.json %s is no object: %.40q (%v)", section, raw, err)
	}
	for key, value := range found {
		if each, known := leaves[[2]string{section, key}]; known {
			err = set(key, value, each)
		} else if section == "" && slices.Contains(sections, key) {
			err = t.read(key, value, leaves)
		} else {
			t.Unknown = append(t.Unknown, strings.TrimPrefix(section+"."+key, "."))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func set(key string, raw json.RawMessage, target leaf) error {
	// As a float, since JSON knows one kind of number: 12.0 is 12. What is quoted, true or null is none.
	number, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || number != math.Trunc(number) {
		return fmt.Errorf("%s must be a whole number, not %.40q", key, raw)
	}
	if number < float64(target.minimum) || number > float64(target.maximum) {
		return fmt.Errorf("%s must be from %d to %d, not %s", key, target.minimum, target.maximum, raw)
	}
	*target.value = int64(number)
	return nil
}
