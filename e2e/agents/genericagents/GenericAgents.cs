using System;
using System.Threading;
using Agentscaler.Agents;

namespace Agentscaler.GenericAgents
{
    /// <summary>An agent whose settings and metrics are those of GenericAgents' performance guide: appsettings.json with
    /// variables over it, read at start.</summary>
    internal sealed class GenericAgents : Framework
    {
        private const long CacheBytes = 256 << 20; // before the memory scale; the guide gives a number of entries
        private readonly Counter succeeded = new Counter(), failed = new Counter();
        private readonly object mutex = new object();
        private double milliseconds;

        public override bool Live => false;

        public static int Main(string[] arguments) => Host.Run(arguments, new GenericAgents());

        public override Settings Defaults(Options options) =>
            new Settings(maxConcurrent: 100, cacheMaxBytes: (long)(CacheBytes * options.MemoryScale), cacheTtlSeconds: 15 * 60);

        public override AgentSettings Bind(Settings common, AppSettings own, Options options)
        {
            own.AddEnvironment();
            Check(own);
            var made = new AgentSettings(
                workers: own.Count("Performance:MaxConcurrentAgents", 1) ?? (int)common.MaxConcurrent,
                cacheBytes: common.CacheMaxBytes, // SizeLimit is set in code, in bytes here
                cacheLifetime: own.Count("Performance:CacheExpirationMinutes", 1) is int minutes
                    ? TimeSpan.FromMinutes(minutes) : TimeSpan.FromSeconds(common.CacheTtlSeconds),
                cacheIdle: TimeSpan.MaxValue,
                connections: own.Count("Performance:ConnectionPoolSize", 1) ?? 100,
                attempts: 1 + (own.Count("Performance:MaxRetryAttempts", 0) ?? 3),
                retryPause: own.Span("Agents:RetryDelay") ?? TimeSpan.FromSeconds(options.TimeScale),
                requestTimeout: TimeSpan.FromSeconds(own.Count("Performance:TimeoutSeconds", 1) ?? 30),
                memoryLimitMegabytes: own.Count("MemoryManagement:MaxMemoryUsageMB", 1) ?? 0,
                collectAboveMegabytes: 0);
            Threads(own); // last: of a broken file nothing is in force
            return made;
        }

        public override void Ended(TimeSpan duration, bool success)
        {
            (success ? succeeded : failed).Add();
            lock (mutex)
                milliseconds += duration.TotalMilliseconds;
        }

        public override void Write(Exposition to, Limiter limiter)
        {
            // As the package's exporter: no labels, no buckets, milliseconds.
            to.Family("agent_execution_duration", "summary", "Milliseconds of runs, good and failed, without their wait.");
            lock (mutex)
                to.Sample("agent_execution_duration_sum", milliseconds);
            to.Sample("agent_execution_duration_count", succeeded.Value + failed.Value);
            to.Single("agent_execution_success", "counter", "Runs that ended well.", succeeded.Value);
            to.Single("agent_execution_failure", "counter", "Runs that failed.", failed.Value);
            to.Single("agent_memory_usage", "gauge", "Bytes of the collector's heap.", GC.GetTotalMemory(false));
        }

        // What has nothing to act on here: a wrong type is told all the same.
        private static void Check(AppSettings own)
        {
            own.Count("Performance:WorkflowBatchSize", 1);
            own.Count("MemoryManagement:ObjectPoolSize", 1);
        }

        private static void Threads(AppSettings own)
        {
            ThreadPool.GetMaxThreads(out var workers, out var ports);
            ThreadPool.SetMaxThreads(
                own.Count("Threading:MaxWorkerThreads", 1) ?? workers, own.Count("Threading:MaxCompletionPortThreads", 1) ?? ports);
            ThreadPool.GetMinThreads(out workers, out ports);
            ThreadPool.SetMinThreads(
                own.Count("Threading:MinWorkerThreads", 1) ?? workers, own.Count("Threading:MinCompletionPortThreads", 1) ?? ports);
        }
    }
}
