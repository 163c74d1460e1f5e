using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace Agentscaler.Agents
{
    /// <summary>What serves runs: workers, cache, connections and memory gate, all of which can be retuned.</summary>
    internal sealed class Agent
    {
        private const double ExcursionShare = 0.4; // of the time of the answer: memory peaks while results are put together
        private const int RetryMemorySeconds = 5;
        private static readonly TimeSpan TickInterval = TimeSpan.FromSeconds(0.25);
        private static readonly TimeSpan MemoryWait = TimeSpan.FromSeconds(30), CollectInterval = TimeSpan.FromSeconds(5);
        private readonly AgentMetrics metrics = new AgentMetrics();
        private readonly MemoryGate gate = new MemoryGate();
        private readonly long memoryLimitBytes;
        private readonly Framework framework;
        private readonly Limiter limiter;
        private readonly BlockCache cache;
        private readonly Upstream upstream;
        private AgentSettings settings;

        public Agent(Framework framework, Options options)
        {
            this.framework = framework;
            memoryLimitBytes = options.MemoryLimitBytes;
            limiter = new Limiter(gate.MayStart, metrics.ObserveWait);
            cache = new BlockCache(metrics);
            upstream = new Upstream(options.Upstreams, metrics);
        }

        /// <summary>Whether it is shutting down.</summary>
        public bool Draining { get; private set; }

        /// <summary>Puts other settings in force; no run is lost, refused or restarted by it.</summary>
        public void Retune(AgentSettings wanted, int queue)
        {
            settings = wanted;
            gate.OwnLimitBytes = new[] { memoryLimitBytes, wanted.MemoryLimitBytes }.Where(each => each > 0).DefaultIfEmpty().Min();
            cache.Retune(wanted.CacheBytes, wanted.CacheLifetime, wanted.CacheIdle);
            upstream.Retune(wanted);
            limiter.Resize(wanted.Workers, queue);
        }

        /// <summary>Waits for a worker and does a job; tells the bytes of context that the answer was made from.</summary>
        /// <param name="waited">Told the wait once the job has a worker.</param>
        /// <exception cref="Refusal">It got no worker.</exception>
        /// <exception cref="UpstreamFailure">The provider failed.</exception>
        public async Task<long> Run(Job job, Action<TimeSpan> waited)
        {
            try
            {
                waited(await limiter.Acquire());
            }
            catch (Refusal refusal)
            {
                metrics.Rejected[refusal.Reason].Add();
                throw;
            }
            var duration = Stopwatch.StartNew();
            var success = false;
            try
            {
                var contextBytes = await Work(job);
                success = true;
                return contextBytes;
            }
            finally
            {
                framework.Ended(duration.Elapsed, success);
                limiter.Release();
            }
        }

        public string Metrics(string ofTuning)
        {
            var text = new Exposition();
            framework.Write(text, limiter);
            metrics.Write(text, limiter, cache);
            text.Raw(ofTuning);
            return text.ToString();
        }

        /// <summary>Does what is due four times a second, for ever: old entries go, and runs that wait for memory start or
        /// are refused.</summary>
        public async Task Tend()
        {
            Stopwatch shut = null, collected = null;
            for (; ; await Task.Delay(TickInterval))
            {
                cache.Sweep();
                if (settings.CollectAboveBytes > 0 && MemoryGate.ResidentBytes > settings.CollectAboveBytes && MayCollect(ref collected))
                    Console.Error.WriteLine($"collected: memory was above {settings.CollectAboveBytes >> 20} MiB");
                if (gate.IsOpen())
                {
                    shut = null;
                    limiter.Pump();
                    continue;
                }
                shut = shut ?? Stopwatch.StartNew();
                var counts = limiter.Counts;
                // While others run, their ends free memory.
                if (counts.Waiting == 0 || (counts.Running > 0 && shut.Elapsed.Ticks < MemoryWait.Ticks / 2))
                    continue;
                if (!MayCollect(ref collected))
                    cache.Halve();
                if (shut.Elapsed > MemoryWait)
                    limiter.Refuse(new Refusal("memory", RetryMemorySeconds), MemoryWait);
            }
        }

        /// <summary>Turns unready; after the delay it admits nothing, and it returns when the last run has ended.</summary>
        public void Drain(TimeSpan delay, TimeSpan linger)
        {
            Draining = true;
            Console.Error.WriteLine($"draining, {limiter.Counts.Running} running");
            Thread.Sleep(delay); // whoever sends runs needs a moment to see that
            limiter.Shut(new Refusal("draining", 1));
            Thread.Sleep(linger); // late callers get a refusal, not a closed port
            while (limiter.Counts.Running > 0)
                Thread.Sleep(25);
        }

        // Collects, but not all the time.
        private static bool MayCollect(ref Stopwatch collected)
        {
            if (collected?.Elapsed < CollectInterval)
                return false;
            collected = Stopwatch.StartNew();
            GC.Collect();
            return true;
        }

        // Looks up the context of a prompt, then asks the provider for the answer.
        private async Task<long> Work(Job job)
        {
            using (new Held(new Block(job.HeldBytes)))
            using (var context = await cache.Get(job.Key, () => LoadContext(job)))
            using (var excursion = new Held(new Block(job.ExcursionBytes)))
            using (new Timer(_ => excursion.Dispose(), null, TimeSpan.FromSeconds(ExcursionShare * job.AnswerSeconds.Sum()), Timeout.InfiniteTimeSpan))
            {
                foreach (var seconds in job.AnswerSeconds)
                    await upstream.Ask(seconds);
                return context.SizeBytes;
            }
        }

        private async Task<Block> LoadContext(Job job)
        {
            await upstream.Ask(job.ContextSeconds);
            return new Block(job.ResultBytes);
        }
    }
}
