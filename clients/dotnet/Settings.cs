using System;
using System.Collections.Generic;
using System.Linq;

namespace Agentscaler
{
    /// <summary>The values of tuning.json over the agent's own defaults. They never change; all are whole numbers.</summary>
    public sealed class Settings
    {
        internal readonly long[] Values; // in the order of Tuning.Keys

        /// <summary>An agent's own defaults; leave out what it does not have.</summary>
        public Settings(
            long maxConcurrent = 1, long cacheMaxBytes = 0, long cacheTtlSeconds = 1, long failureRateThresholdPercent = 50,
            long waitDurationInOpenStateSeconds = 30, long slidingWindowSeconds = 60, long minimumNumberOfCalls = 10,
            long permittedCallsInHalfOpenState = 2)
        {
            Values = new[]
            {
                maxConcurrent, cacheMaxBytes, cacheTtlSeconds, failureRateThresholdPercent, waitDurationInOpenStateSeconds,
                slidingWindowSeconds, minimumNumberOfCalls, permittedCallsInHalfOpenState,
            };
        }

        internal Settings(long[] values) => Values = values;

        /// <summary>Runs carried out at a time.</summary>
        public long MaxConcurrent => Values[0];

        /// <summary>Bytes that the cache holds at most; 0 stores nothing.</summary>
        public long CacheMaxBytes => Values[1];

        /// <summary>Age in seconds at which an entry is no longer used.</summary>
        public long CacheTtlSeconds => Values[2];

        /// <summary>Share of failed calls in the window at which the breaker opens.</summary>
        public long FailureRateThresholdPercent => Values[3];

        /// <summary>How long an open breaker refuses before it tries again.</summary>
        public long WaitDurationInOpenStateSeconds => Values[4];

        /// <summary>Age in seconds up to which finished calls count.</summary>
        public long SlidingWindowSeconds => Values[5];

        /// <summary>Fewer calls than this in the window never open the breaker.</summary>
        public long MinimumNumberOfCalls => Values[6];

        /// <summary>Trial calls after the wait.</summary>
        public long PermittedCallsInHalfOpenState => Values[7];
    }

    /// <summary>One valid tuning.json.</summary>
    public sealed class Tuning
    {
        private const int LengthMax = 64 * 1024; // a file of the operator has less than 1 KiB
        private const long GenerationMax = (1L << 53) - 1; // what every language's JSON numbers hold exactly

        /// <summary>The keys with the bounds of docs/tuning.schema.json.</summary>
        internal static readonly (string Path, long Minimum, long Maximum)[] Keys =
        {
            ("workers.maxConcurrent", 1, 10000), ("cache.maxBytes", 0, 1L << 40), ("cache.ttlSeconds", 1, 604800),
            ("circuitBreaker.failureRateThresholdPercent", 1, 100), ("circuitBreaker.waitDurationInOpenStateSeconds", 1, 3600),
            ("circuitBreaker.slidingWindowSeconds", 1, 3600), ("circuitBreaker.minimumNumberOfCalls", 1, 10000),
            ("circuitBreaker.permittedCallsInHalfOpenState", 1, 1000),
        };

        internal Tuning(long generation, Settings settings, params string[] unknown)
        {
            Generation = generation;
            Settings = settings;
            Unknown = unknown;
        }

        /// <summary>The writer's number of this file.</summary>
        public long Generation { get; }

        /// <summary>The file's values over the agent's defaults.</summary>
        public Settings Settings { get; }

        /// <summary>Keys that this reader does not know, as paths with dots; they have no effect.</summary>
        public IReadOnlyList<string> Unknown { get; }

        /// <summary>Reads a tuning.json; an absent key leaves the default.</summary>
        /// <exception cref="FormatException">It is not JSON, or breaks the schema.</exception>
        public static Tuning Parse(string text, Settings defaults)
        {
            var root = Members("tuning.json", Json.Parse(text.Length <= LengthMax ? text : ""));
            root.TryGetValue("generation", out var generation);
            root.Remove("generation");
            var values = (long[])defaults.Values.Clone();
            var unknown = root.Keys.Where(key => !Keys.Any(known => known.Path.StartsWith(key + ".", StringComparison.Ordinal))).ToList();
            foreach (var section in root.Where(each => !unknown.Contains(each.Key)).ToList())
                foreach (var member in Members(section.Key, section.Value))
                {
                    var path = section.Key + "." + member.Key;
                    var at = Array.FindIndex(Keys, known => known.Path == path);
                    if (at < 0)
                        unknown.Add(path);
                    else
                        values[at] = Whole(path, member.Value, Keys[at].Minimum, Keys[at].Maximum);
                }
            return new Tuning(Whole("generation", generation, 1, GenerationMax), new Settings(values), unknown.ToArray());
        }

        private static Dictionary<string, object> Members(string name, object value) =>
            value as Dictionary<string, object> ?? throw new FormatException(name + " must be an object");

        // JSON knows one kind of number: 12.0 is 12. What is quoted, true or null is none.
        private static long Whole(string path, object value, long minimum, long maximum) =>
            value is double number && number == Math.Floor(number) && number >= minimum && number <= maximum
                ? (long)number
                : throw new FormatException(FormattableString.Invariant($"{path} must be a whole number from {minimum} to {maximum}"));
    }
}
