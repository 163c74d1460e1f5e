using System;
using Agentscaler.Agents;

namespace Agentscaler.AIAgentSharp
{
    /// <summary>An agent whose settings and metrics are those of AIAgentSharp's performance guide: a host that binds
    /// appsettings.json to the constructor arguments of its classes, here while it runs.</summary>
    internal sealed class AIAgentSharp : Framework
    {
        private const long CacheBytes = 256 << 20; // before the memory scale; the guide's cache has no bound
        private static readonly TimeSpan SlidingExpiration = TimeSpan.FromMinutes(30); // fixed in the guide's code
        private readonly Averages averages = new Averages();

        public override bool Live => true;

        public static int Main(string[] arguments) => Host.Run(arguments, new AIAgentSharp());

        public override Settings Defaults(Options options) =>
            new Settings(maxConcurrent: 5, cacheMaxBytes: (long)(CacheBytes * options.MemoryScale), cacheTtlSeconds: 60 * 60);

        public override AgentSettings Bind(Settings common, AppSettings own, Options options)
        {
            Check(own);
            return new AgentSettings(
                workers: own.Count("ParallelToolExecutor:MaxConcurrency", 1) ?? (int)common.MaxConcurrent,
                cacheBytes: common.CacheMaxBytes,
                cacheLifetime: own.Span("ResponseCache:DefaultExpiration") ?? TimeSpan.FromSeconds(common.CacheTtlSeconds),
                cacheIdle: SlidingExpiration,
                connections: own.Count("ConnectionPool:MaxSize", 1) ?? 20,
                attempts: 2, // LoadBalancer: a call that fails is made once more, on the next client
                retryPause: TimeSpan.Zero,
                requestTimeout: own.Span("OpenAiConfiguration:RequestTimeout") ?? options.CallTimeout,
                memoryLimitMegabytes: 0,
                collectAboveMegabytes: own.Count("MemoryManager:MemoryLimitMB", 1) ?? 500);
        }

        public override void Ended(TimeSpan duration, bool success) => averages.Add(duration, success);

        public override void Write(Exposition to, Limiter limiter)
        {
            var now = averages.Now();
            to.Single("ResponseTime", "gauge", "Mean milliseconds of the last runs, without their wait.", now.Milliseconds);
            to.Single("RequestsPerSecond", "gauge", "Runs that ended, of the last half minute.", now.PerSecond);
            to.Single("SuccessRate", "gauge", "Share of the last runs that ended well.", now.SuccessRate);
            to.Single("ConcurrentRequests", "gauge", "Runs that have a worker now.", limiter.Counts.Running);
            to.Single("MemoryUsage", "gauge", "Bytes of the collector's heap.", GC.GetTotalMemory(false));
        }

        // What has nothing to act on here: a wrong type is told all the same.
        private static void Check(AppSettings own)
        {
            own.Count("ObjectPool:MaxSize", 1);
            own.Count("BatchProcessor:BatchSize", 1);
            own.Span("BatchProcessor:BatchTimeout");
            own.Count("PromptOptimizer:MaxTokens", 1);
        }
    }
}
