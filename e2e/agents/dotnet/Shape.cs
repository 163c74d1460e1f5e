using System;
using System.Linq;
using System.Text;

namespace Agentscaler.Agents
{
    /// <summary>One run's work, scaled.</summary>
    internal sealed class Job
    {
        public string Key; // what the cacheable part depends on
        public double ContextSeconds; // provider's time of the cacheable part
        public long ResultBytes; // of what is cached
        public double[] AnswerSeconds; // provider's time of each call that makes the answer
        public long HeldBytes; // during the whole run
        public long ExcursionBytes; // on top of it for a part of the run
    }

    /// <summary>The measured shape of agent work, as e2e/agents/reference/shape.py has it. Seconds and bytes are those of the
    /// real thing; the scales are applied last.</summary>
    internal sealed class Shape
    {
        private const double Megabyte = 1e6;
        private const double BaseSeconds = 1.240, SecondsPerOutputToken = 0.01488, LongestSeconds = 100;
        private const double InputSeconds = 0.0301 / 1000 * 710 + 0.0144 / 1000 * 98752; // new and cached tokens at their medians
        private const double OutputTokensMedian = 218, OutputTokensSigma = 1.19, DurationSigma = 0.27;
        private const double MemoryMedianBytes = 210 * Megabyte, MemorySigma = 0.15;
        private const double ResultMedianBytes = 1 << 20, ResultSigma = 0.5;
        private const double ZipfExponent = 0.9, CacheableShare = 0.3, TwoAnswersShare = 0.3;
        private const int Keys = 20000;

        private static readonly (double Quantile, double Megabytes)[] Peaks = { (0, 210), (0.5, 291), (0.9, 441), (0.99, 2050), (1, 4060) };
        private readonly double timeScale, memoryScale, tailQuantile, runSeconds;
        private readonly Random random;
        private readonly double[] popularity;

        /// <param name="tailQuantile">Rarer peaks of memory are cut to it.</param>
        /// <param name="runSeconds">Of every run, before the time scale; 0: as measured.</param>
        public Shape(double timeScale, double memoryScale, double tailQuantile, double runSeconds, int? seed)
        {
            this.timeScale = timeScale;
            this.memoryScale = memoryScale;
            this.tailQuantile = tailQuantile;
            this.runSeconds = runSeconds;
            random = seed == null ? new Random() : new Random(seed.Value);
            var sum = 0.0;
            popularity = Enumerable.Range(1, Keys).Select(rank => sum += Math.Pow(rank, -ZipfExponent)).ToArray();
        }

        /// <summary>One job; a key that is null is drawn, too.</summary>
        /// <param name="memoryFactor">Times the usual memory.</param>
        public Job Draw(string key, double memoryFactor)
        {
            lock (random)
            {
                if (key == null)
                {
                    var rank = Array.BinarySearch(popularity, random.NextDouble() * popularity[Keys - 1]);
                    key = "prompt-" + (rank < 0 ? ~rank : rank);
                }
                var seconds = Seconds() * timeScale;
                var peak = PeakBytes(Math.Min(random.NextDouble(), tailQuantile));
                var held = Math.Min(peak, MemoryMedianBytes * LogNormal(random, MemorySigma));
                var answers = random.NextDouble() < TwoAnswersShare ? 2 : 1;
                return new Job
                {
                    Key = key,
                    ContextSeconds = seconds * CacheableShare,
                    // The same key has the same size every time and everywhere.
                    ResultBytes = (long)(ResultMedianBytes * LogNormal(new Random(HashOf(key)), ResultSigma) * memoryScale),
                    AnswerSeconds = Enumerable.Repeat(seconds * (1 - CacheableShare) / answers, answers).ToArray(),
                    HeldBytes = (long)(held * memoryScale * memoryFactor),
                    ExcursionBytes = (long)((peak - held) * memoryScale * memoryFactor),
                };
            }
        }

        /// <summary>Duration of one run without a cached result, before the time scale.</summary>
        private double Seconds()
        {
            if (runSeconds > 0)
                return runSeconds;
            var output = OutputTokensMedian * LogNormal(random, OutputTokensSigma);
            var whole = BaseSeconds + SecondsPerOutputToken * output + InputSeconds;
            return Math.Min(LongestSeconds, whole * LogNormal(random, DurationSigma));
        }

        private static double PeakBytes(double quantile)
        {
            // Log-linear between the measured ones.
            var at = Array.FindIndex(Peaks, 1, peak => quantile <= peak.Quantile);
            var (low, high) = (Peaks[at - 1], Peaks[at]);
            var share = (quantile - low.Quantile) / (high.Quantile - low.Quantile);
            return Math.Exp((1 - share) * Math.Log(low.Megabytes) + share * Math.Log(high.Megabytes)) * Megabyte;
        }

        private static double LogNormal(Random random, double sigma) =>
            Math.Exp(sigma * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));

        private static int HashOf(string key) => // FNV-1a; string.GetHashCode differs from one runtime to the next
            unchecked((int)Encoding.UTF8.GetBytes(key).Aggregate(2166136261u, (hash, each) => (hash ^ each) * 16777619u));
    }
}
