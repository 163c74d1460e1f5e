using System;

namespace Agentscaler.Agents
{
    /// <summary>What is in force. It never changes; others take its place.</summary>
    internal sealed class AgentSettings
    {
        /// <param name="workers">Runs at a time.</param>
        /// <param name="cacheBytes">What the cache may hold.</param>
        /// <param name="cacheLifetime">Age at which an entry is no longer used.</param>
        /// <param name="cacheIdle">Time without use after which it goes.</param>
        /// <param name="connections">Calls to the provider at a time.</param>
        /// <param name="attempts">Of a call, the first one with them.</param>
        /// <param name="retryPause">Between two of them.</param>
        /// <param name="requestTimeout">Of one call that has a connection.</param>
        /// <param name="memoryLimitMegabytes">MiB of resident memory above which no run starts; 0: the container's alone.</param>
        /// <param name="collectAboveMegabytes">MiB of resident memory above which the collector is called; 0: never.</param>
        public AgentSettings(
            int workers, long cacheBytes, TimeSpan cacheLifetime, TimeSpan cacheIdle, int connections, int attempts,
            TimeSpan retryPause, TimeSpan requestTimeout, long memoryLimitMegabytes, long collectAboveMegabytes)
        {
            Workers = workers;
            CacheBytes = cacheBytes;
            CacheLifetime = cacheLifetime;
            CacheIdle = cacheIdle;
            Connections = connections;
            Attempts = attempts;
            RetryPause = retryPause;
            RequestTimeout = requestTimeout;
            MemoryLimitBytes = memoryLimitMegabytes << 20;
            CollectAboveBytes = collectAboveMegabytes << 20;
        }

        public int Workers { get; }

        public long CacheBytes { get; }

        public TimeSpan CacheLifetime { get; }

        public TimeSpan CacheIdle { get; }

        public int Connections { get; }

        public int Attempts { get; }

        public TimeSpan RetryPause { get; }

        public TimeSpan RequestTimeout { get; }

        public long MemoryLimitBytes { get; }

        public long CollectAboveBytes { get; }
    }
}
