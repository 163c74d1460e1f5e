using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace Agentscaler.Agents
{
    /// <summary>The command line: --name value or --name=value.</summary>
    internal sealed class Options
    {
        private const double CallTimeoutSeconds = 120; // before the time scale, as AIAgentSharp has it

        private static readonly string[] Names =
        {
            "host", "port", "settings-dir", "upstream", "time-scale", "call-timeout-seconds", "memory-scale", "memory-limit-bytes",
            "memory-tail-quantile", "run-seconds", "queue-size", "drain-delay-seconds", "drain-linger-seconds", "seed",
        };

        private readonly Dictionary<string, string> given = new Dictionary<string, string>();

        /// <exception cref="FormatException">It makes no sense.</exception>
        public Options(string[] arguments)
        {
            var words = new Queue<string>(arguments.SelectMany(each => each.StartsWith("--") ? each.Split(new[] { '=' }, 2) : new[] { each }));
            while (words.Count > 0)
            {
                var name = words.Dequeue();
                if (!name.StartsWith("--") || !Names.Contains(name.Substring(2)) || words.Count == 0)
                    throw new FormatException($"{name}: expected a value for one of --{string.Join(", --", Names)}");
                given[name.Substring(2)] = words.Dequeue();
            }
            Upstreams = Text("upstream", "").Split(new[] { ',' }, StringSplitOptions.RemoveEmptyEntries)
                .Select(each => new Uri(each.TrimEnd('/') + "/")).ToArray();
            if (Upstreams.Length == 0)
                throw new FormatException("--upstream is missing: URLs of the model provider, with commas");
        }

        /// <summary>Each is a client of the provider.</summary>
        public Uri[] Upstreams { get; }

        public string Host => Text("host", "127.0.0.1");

        public int Port => (int)Number("port", 8080);

        /// <summary>Null: where the environment says.</summary>
        public string SettingsDirectory => Text("settings-dir", null);

        public double TimeScale => Number("time-scale", 0.05);

        /// <summary>Of one upstream call, not scaled.</summary>
        public TimeSpan CallTimeout => TimeSpan.FromSeconds(Number("call-timeout-seconds", CallTimeoutSeconds * TimeScale));

        public double MemoryScale => Number("memory-scale", 0.05);

        /// <summary>Of resident memory; 0: the container's limit alone.</summary>
        public long MemoryLimitBytes => (long)Number("memory-limit-bytes", 0);

        /// <summary>Runs that may wait.</summary>
        public int QueueSize => (int)Number("queue-size", 500);

        public TimeSpan DrainDelay => TimeSpan.FromSeconds(Number("drain-delay-seconds", 1));

        public TimeSpan DrainLinger => TimeSpan.FromSeconds(Number("drain-linger-seconds", 1));

        public Shape Shape() => new Shape(
            TimeScale, MemoryScale, Number("memory-tail-quantile", 0.9), Number("run-seconds", 0),
            given.ContainsKey("seed") ? (int?)Number("seed", 0) : null);

        private string Text(string name, string otherwise) => given.TryGetValue(name, out var text) ? text : otherwise;

        private double Number(string name, double otherwise) =>
            given.TryGetValue(name, out var text) ? double.Parse(text, CultureInfo.InvariantCulture) : otherwise;
    }
}
