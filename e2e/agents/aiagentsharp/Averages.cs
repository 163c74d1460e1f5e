using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;

namespace Agentscaler.AIAgentSharp
{
    /// <summary>The guide's PerformanceMonitor: means of the last hundred runs, and how many ended in its half minute.</summary>
    internal sealed class Averages
    {
        private const int Runs = 100;
        private static readonly TimeSpan Period = TimeSpan.FromSeconds(30);
        private readonly Queue<(double Milliseconds, bool Success)> runs = new Queue<(double, bool)>();
        private readonly Queue<TimeSpan> ends = new Queue<TimeSpan>();
        private readonly Stopwatch clock = Stopwatch.StartNew();

        public void Add(TimeSpan duration, bool success)
        {
            lock (runs)
            {
                runs.Enqueue((duration.TotalMilliseconds, success));
                if (runs.Count > Runs)
                    runs.Dequeue();
                ends.Enqueue(clock.Elapsed);
                Forget();
            }
        }

        /// <summary>Before the first run the mean is 0 and the rate of success 1.</summary>
        public (double Milliseconds, double PerSecond, double SuccessRate) Now()
        {
            lock (runs)
            {
                Forget();
                return (
                    runs.Select(run => run.Milliseconds).DefaultIfEmpty(0).Average(),
                    ends.Count / Math.Max(1, Math.Min(Period.TotalSeconds, clock.Elapsed.TotalSeconds)),
                    runs.Select(run => run.Success ? 1.0 : 0.0).DefaultIfEmpty(1).Average());
            }
        }

        private void Forget()
        {
            while (ends.Count > 0 && clock.Elapsed - ends.Peek() > Period)
                ends.Dequeue();
        }
    }
}
