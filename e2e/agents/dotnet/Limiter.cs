using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading.Tasks;

namespace Agentscaler.Agents
{
    /// <summary>A run that was refused before it got a worker.</summary>
    internal sealed class Refusal : Exception
    {
        /// <param name="reason">As in agent_rejected_total.</param>
        public Refusal(string reason, int retryAfterSeconds)
            : base("refused: " + reason)
        {
            Reason = reason;
            RetryAfterSeconds = retryAfterSeconds;
        }

        public string Reason { get; }

        public int RetryAfterSeconds { get; }
    }

    /// <summary>A bounded queue, first in first out, in front of a number of slots that can change at any time. A
    /// SemaphoreSlim, which the guides show, has a size for ever and a queue without end or measure.</summary>
    internal sealed class Limiter
    {
        private readonly Func<bool> mayStart;
        private readonly Action<TimeSpan> observe;
        private readonly object mutex = new object();
        private readonly LinkedList<Waiter> waiters = new LinkedList<Waiter>();
        private int limit, queue, running;
        private Refusal refusing;

        /// <param name="mayStart">Asked before each start; a no leaves the run waiting until the next pump.</param>
        /// <param name="observe">Told how long each one waited, also who was refused after a wait.</param>
        public Limiter(Func<bool> mayStart, Action<TimeSpan> observe)
        {
            this.mayStart = mayStart;
            this.observe = observe;
        }

        /// <summary>Slots in force, those that are taken, and who waits for one.</summary>
        public (int Limit, int Running, int Waiting) Counts
        {
            get
            {
                lock (mutex)
                    return (limit, running, waiters.Count);
            }
        }

        /// <summary>Waits for a slot, and tells how long; who gets one must release it.</summary>
        /// <exception cref="Refusal">There is none to be had.</exception>
        public async Task<TimeSpan> Acquire()
        {
            var mine = new Waiter();
            lock (mutex)
            {
                if (refusing != null)
                    throw refusing;
                // Who waits already comes first, even if a slot is free while memory is short.
                if (waiters.Count == 0 && running < limit && mayStart())
                {
                    running++;
                    mine.Turn.SetResult(null);
                }
                else if (waiters.Count >= queue)
                    throw new Refusal("queue_full", 1);
                else
                    waiters.AddLast(mine);
            }
            var refusal = await mine.Turn.Task.ConfigureAwait(false);
            var wait = mine.Since.Elapsed;
            observe(wait);
            return refusal == null ? wait : throw refusal;
        }

        public void Release()
        {
            lock (mutex)
                running--;
            Pump();
        }

        /// <summary>More slots start who waits at once, fewer let the running ones finish.</summary>
        public void Resize(int slots, int mayWait)
        {
            lock (mutex)
            {
                limit = slots;
                queue = mayWait;
            }
            Pump();
        }

        /// <summary>Starts who waits, as far as slots and mayStart allow.</summary>
        public void Pump()
        {
            lock (mutex)
                while (waiters.Count > 0 && running < limit && mayStart())
                {
                    running++;
                    Next(null);
                }
        }

        /// <summary>Tells who has waited for so long to come back later.</summary>
        public void Refuse(Refusal why, TimeSpan waited)
        {
            lock (mutex)
                while (waiters.Count > 0 && waiters.First.Value.Since.Elapsed >= waited)
                    Next(why);
        }

        /// <summary>Refuses who waits, and whoever comes from now on.</summary>
        public void Shut(Refusal why)
        {
            lock (mutex)
                refusing = why;
            Refuse(why, TimeSpan.Zero);
        }

        private void Next(Refusal why)
        {
            waiters.First.Value.Turn.SetResult(why);
            waiters.RemoveFirst();
        }

        private sealed class Waiter
        {
            public readonly Stopwatch Since = Stopwatch.StartNew();

            public readonly TaskCompletionSource<Refusal> Turn =
                new TaskCompletionSource<Refusal>(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }
}
