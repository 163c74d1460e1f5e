package main

import (
	"hash/crc32"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"sync"
)

// The measured shape of agent work, as e2e/agents/reference/shape.py has it; TestWorkHasTheMeasuredShape holds them
// against the same measurements. Seconds and bytes are those of the real thing; the scales are applied last.
const (
	megabyte = 1_000_000

	baseSeconds           = 1.240
	secondsPerOutputToken = 0.01488
	inputSeconds          = 0.0301/1000*710 + 0.0144/1000*98_752 // new and cached tokens at their medians
	outputTokensMedian    = 218
	outputTokensSigma     = 1.19
	durationSigma         = 0.27
	longestSeconds        = 100.0

	memoryMedianBytes = 210 * megabyte
	memorySigma       = 0.15

	keys              = 20_000
	zipfExponent      = 0.9
	resultMedianBytes = 1 << 20
	resultSigma       = 0.5
	cacheableShare    = 0.3
	twoAnswersShare   = 0.3
)

var peakMegabytesAt = [][2]float64{{0, 210}, {0.5, 291}, {0.9, 441}, {0.99, 2_050}, {1, 4_060}}

// job is one run's work, scaled.
type job struct {
	key            string    // what the cacheable part depends on
	contextSeconds float64   // upstream time of the cacheable part
	resultBytes    int64     // size of what is cached
	answerSeconds  []float64 // upstream time of each call that makes the answer
	heldBytes      int64     // memory held during the whole run
	excursionBytes int64     // memory held on top of it for a part of the run
}

// shape draws jobs.
type shape struct {
	timeScale, memoryScale float64
	tailQuantile           float64 // rarer peaks of memory are cut to it
	runSeconds             float64 // of every run, before the time scale; 0: as measured

	mu         sync.Mutex
	random     *rand.Rand
	popularity []float64
}

func newShape(timeScale, memoryScale, tailQuantile, runSeconds float64, seed uint64) *shape {
	if seed == 0 {
		seed = rand.Uint64()
	}
	s := &shape{
		timeScale: timeScale, memoryScale: memoryScale, tailQuantile: tailQuantile, runSeconds: runSeconds,
		random: rand.New(rand.NewPCG(seed, 0)),
	}
	sum := 0.0
	for rank := 1; rank <= keys; rank++ {
		sum += math.Pow(float64(rank), -zipfExponent)
		s.popularity = append(s.popularity, sum)
	}
	return s
}

// draw gives one job; an empty key is drawn, too, and memoryFactor is times the usual memory.
func (s *shape) draw(key string, memoryFactor float64) job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key == "" {
		rank := sort.SearchFloat64s(s.popularity, s.random.Float64()*s.popularity[keys-1])
		key = "prompt-" + strconv.Itoa(rank)
	}
	seconds := s.seconds() * s.timeScale
	peak := peakBytes(min(s.random.Float64(), s.tailQuantile))
	held := min(peak, memoryMedianBytes*logNormal(s.random, memorySigma))
	memory := s.memoryScale * memoryFactor
	answers := make([]float64, 1)
	if s.random.Float64() < twoAnswersShare {
		answers = make([]float64, 2)
	}
	for position := range answers {
		answers[position] = seconds * (1 - cacheableShare) / float64(len(answers))
	}
	// The same key has the same size every time and everywhere.
	ofKey := rand.New(rand.NewPCG(uint64(crc32.ChecksumIEEE([]byte(key))), 0))
	return job{
		key:            key,
		contextSeconds: seconds * cacheableShare,
		resultBytes:    int64(resultMedianBytes * logNormal(ofKey, resultSigma) * s.memoryScale),
		answerSeconds:  answers,
		heldBytes:      int64(held * memory),
		excursionBytes: int64((peak - held) * memory),
	}
}

// seconds is the duration of one run without a cached result, before the time scale.
func (s *shape) seconds() float64 {
	if s.runSeconds > 0 {
		return s.runSeconds
	}
	output := outputTokensMedian * logNormal(s.random, outputTokensSigma)
	whole := baseSeconds + secondsPerOutputToken*output + inputSeconds
	return min(longestSeconds, whole*logNormal(s.random, durationSigma))
}

func logNormal(random *rand.Rand, sigma float64) float64 {
	return math.Exp(sigma * random.NormFloat64())
}

// peakBytes is the maximum of memory at a quantile, log-linear between the measured ones.
func peakBytes(quantile float64) float64 {
	for position := 1; ; position++ {
		low, high := peakMegabytesAt[position-1], peakMegabytesAt[position]
		if quantile <= high[0] || position == len(peakMegabytesAt)-1 {
			share := (quantile - low[0]) / (high[0] - low[0])
			return math.Exp((1-share)*math.Log(low[1])+share*math.Log(high[1])) * megabyte
		}
	}
}
