using System;
using System.Collections.Generic;
using System.Linq;
using Agentscaler.Agents;

namespace Agentscaler.Tests
{
    public sealed class ShapeTests
    {
        public void WorkHasTheMeasuredShape()
        {
            var shape = new Shape(1, 1, 1, 0, 1);
            var jobs = Enumerable.Range(0, 20000).Select(_ => shape.Draw(null, 1)).ToList();
            var seconds = Sorted(jobs.Select(job => job.ContextSeconds + job.AnswerSeconds.Sum()));
            var held = Sorted(jobs.Select(job => job.HeldBytes / 1e6));
            var peak = Sorted(jobs.Select(job => (job.HeldBytes + job.ExcursionBytes) / 1e6));
            var measured = new[]
            {
                Tuple.Create(seconds, 0.5, 6.1), Tuple.Create(seconds, 0.95, 28.0), Tuple.Create(seconds, 0.99, 60.0),
                Tuple.Create(held, 0.5, 210.0), Tuple.Create(peak, 0.5, 291.0), Tuple.Create(peak, 0.9, 441.0),
                Tuple.Create(peak, 0.99, 2050.0),
            };
            foreach (var each in measured)
            {
                var found = each.Item1[(int)(each.Item2 * jobs.Count)];
                Tests.Equal(true, Math.Abs((found / each.Item3) - 1) < 0.08, $"{found} at {each.Item2}, measured {each.Item3}");
            }
            Tests.Equal(jobs.GroupBy(job => job.Key).Count(), jobs.GroupBy(job => (job.Key, job.ResultBytes)).Count(), "sizes of keys");
        }

        private static List<double> Sorted(IEnumerable<double> values) => values.OrderBy(each => each).ToList();
    }
}
