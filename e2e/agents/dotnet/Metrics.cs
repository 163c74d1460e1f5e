using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using System.Text;
using System.Threading;

namespace Agentscaler.Agents
{
    internal sealed class Counter
    {
        private long value;

        public long Value => Interlocked.Read(ref value);

        public void Add() => Interlocked.Increment(ref value);
    }

    /// <summary>The Prometheus text format.</summary>
    internal sealed class Exposition
    {
        private readonly StringBuilder text = new StringBuilder();

        public Exposition Family(string name, string type, string help)
        {
            text.Append($"# HELP {name} {help}\n# TYPE {name} {type}\n");
            return this;
        }

        public Exposition Sample(string name, double value)
        {
            text.Append(name).Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
            return this;
        }

        public void Single(string name, string type, string help, double value) => Family(name, type, help).Sample(name, value);

        public void Labelled(string name, string help, string label, IEnumerable<KeyValuePair<string, Counter>> counters)
        {
            Family(name, "counter", help);
            foreach (var each in counters)
                Sample($"{name}{{{label}=\"{each.Key}\"}}", each.Value.Value);
        }

        /// <summary>Text that is in the format already.</summary>
        public void Raw(string lines) => text.Append(lines);

        public override string ToString() => text.ToString();
    }

    /// <summary>What of the contract an agent on either framework can know; every series is there from the start.</summary>
    internal sealed class AgentMetrics
    {
        private static readonly double[] Buckets = { 0.05, 0.1, 0.2, 0.35, 0.6, 1, 1.75, 3, 5, 10, 17.5, 30, 60, 120, 300, 600 };

        public readonly Counter CacheHits = new Counter(), CacheMisses = new Counter();
        public readonly Counter CacheEvictions = new Counter(), CacheExpired = new Counter();
        public readonly Dictionary<string, Counter> Rejected = Counters("queue_full", "memory", "breaker", "draining");
        public readonly Dictionary<string, Counter> Calls = Counters("success", "failure");
        public readonly Dictionary<string, Counter> Errors = Counters("429", "5xx", "timeout");
        private readonly long[] waits = new long[Buckets.Length + 1]; // by bucket, each wait in the lowest that holds it
        private double waitSeconds;

        public void ObserveWait(TimeSpan wait)
        {
            var at = Array.FindIndex(Buckets, bound => wait.TotalSeconds <= bound);
            lock (waits)
            {
                waits[at < 0 ? Buckets.Length : at]++;
                waitSeconds += wait.TotalSeconds;
            }
        }

        public void Write(Exposition to, Limiter limiter, BlockCache cache)
        {
            var (limit, running, waiting) = limiter.Counts;
            var (bytes, maxBytes) = cache.Sizes;
            to.Single("agent_worker_limit", "gauge", "Workers in force.", limit);
            to.Single("agent_inflight_requests", "gauge", "Runs that have a worker now.", running);
            to.Single("agent_queue_depth", "gauge", "Runs that wait for a worker now.", waiting);
            WriteWaits(to);
            to.Labelled("agent_rejected_total", "Runs refused before they got a worker.", "reason", Rejected);
            to.Single("agent_cache_hits_total", "counter", "Lookups answered without a load of their own.", CacheHits.Value);
            to.Single("agent_cache_misses_total", "counter", "Lookups that had to load.", CacheMisses.Value);
            to.Single("agent_cache_evictions_total", "counter", "Entries dropped to keep within the size.", CacheEvictions.Value);
            to.Single("agent_cache_expired_total", "counter", "Entries dropped because of their age.", CacheExpired.Value);
            to.Single("agent_cache_bytes", "gauge", "What the cache holds now.", bytes);
            to.Single("agent_cache_limit_bytes", "gauge", "Cache size in force.", maxBytes);
            to.Labelled("agent_upstream_calls_total", "Calls to the model provider, sent and ended.", "outcome", Calls);
            to.Labelled("agent_upstream_errors_total", "Calls to the model provider that failed.", "kind", Errors);
            to.Single("process_resident_memory_bytes", "gauge", "Resident memory.", MemoryGate.ResidentBytes);
            using (var self = Process.GetCurrentProcess())
                to.Single("process_cpu_seconds_total", "counter", "CPU time.", self.TotalProcessorTime.TotalSeconds);
        }

        private void WriteWaits(Exposition to)
        {
            const string Name = "agent_queue_wait_seconds";
            to.Family(Name, "histogram", "From arrival until the wait for a worker ended.");
            lock (waits)
            {
                long count = 0;
                for (var at = 0; at < Buckets.Length; at++)
                    to.Sample($"{Name}_bucket{{le=\"{Buckets[at].ToString(CultureInfo.InvariantCulture)}\"}}", count += waits[at]);
                to.Sample(Name + "_bucket{le=\"+Inf\"}", count += waits[Buckets.Length]);
                to.Sample(Name + "_sum", waitSeconds).Sample(Name + "_count", count);
            }
        }

        private static Dictionary<string, Counter> Counters(params string[] names) => names.ToDictionary(name => name, _ => new Counter());
    }
}
