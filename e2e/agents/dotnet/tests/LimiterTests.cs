using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Agentscaler.Agents;

namespace Agentscaler.Tests
{
    public sealed class LimiterTests
    {
        private readonly Limiter limiter = new Limiter(() => true, _ => { });

        public void RunsStartInTheOrderOfTheirArrivalAndAFullQueueRefuses()
        {
            limiter.Resize(1, 3);
            limiter.Acquire().Wait();
            var started = new List<int>();
            var waiting = Enumerable.Range(0, 3).Select(number => Note(number, started)).ToList();
            Tests.Equal("queue_full", Reason(limiter.Acquire()));
            for (var count = 1; count <= 3; count++)
            {
                limiter.Release();
                Tests.Equal(true, waiting[count - 1].Wait(10000), "first in, first out");
                Tests.Equal((1, 1, 3 - count), limiter.Counts);
            }
            Tests.Equal("0 1 2", string.Join(" ", started));
        }

        public void MoreSlotsStartWhoWaitsAndFewerLetTheRunningOnesFinish()
        {
            limiter.Resize(1, 100);
            var all = Enumerable.Range(0, 10).Select(_ => limiter.Acquire()).ToList();
            limiter.Resize(4, 100);
            Task.WaitAll(all.Take(4).ToArray());
            Tests.Equal((4, 4, 6), limiter.Counts);
            limiter.Resize(2, 100);
            limiter.Release();
            limiter.Release();
            Tests.Equal((2, 2, 6), limiter.Counts);
            limiter.Release();
            Tests.Equal((2, 2, 5), limiter.Counts);
        }

        public void ADrainRefusesWhoWaitsAndWhoComes()
        {
            limiter.Resize(1, 100);
            limiter.Acquire().Wait();
            var waiting = limiter.Acquire();
            limiter.Shut(new Refusal("draining", 1));
            Tests.Equal("draining", Reason(waiting));
            Tests.Equal("draining", Reason(limiter.Acquire()));
            Tests.Equal((1, 1, 0), limiter.Counts);
        }

        public void WhoMayNotStartWaitsForAPump()
        {
            var mayStart = false;
            var waits = 0;
            var gated = new Limiter(() => mayStart, _ => waits++);
            gated.Resize(5, 5);
            var first = gated.Acquire();
            Tests.Equal((5, 0, 1), gated.Counts);
            mayStart = true;
            gated.Pump();
            first.Wait();
            Tests.Equal((5, 1, 0), gated.Counts);
            Tests.Equal(1, waits);
        }

        public void WhateverHappensNoSlotIsLostAndTheLimitHolds()
        {
            limiter.Resize(7, 10000);
            var running = 0;
            var highest = 0;
            Func<Task> run = async () =>
            {
                await limiter.Acquire();
                var now = Interlocked.Increment(ref running);
                lock (this)
                    highest = Math.Max(highest, now);
                await Task.Yield();
                Interlocked.Decrement(ref running);
                limiter.Release();
            };
            Task.WaitAll(Enumerable.Range(0, 3000).Select(_ => Task.Run(run)).ToArray());
            Tests.Equal((7, 0, 0), limiter.Counts);
            Tests.Equal(true, highest <= 7, "within the limit");
        }

        private async Task Note(int number, List<int> started)
        {
            await limiter.Acquire();
            started.Add(number);
        }

        private static string Reason(Task refused)
        {
            try
            {
                refused.Wait();
                return null;
            }
            catch (AggregateException error)
            {
                return (error.InnerException as Refusal)?.Reason;
            }
        }
    }
}
