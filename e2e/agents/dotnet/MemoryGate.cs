using System;
using System.Diagnostics;
using System.IO;
using System.Linq;

namespace Agentscaler.Agents
{
    /// <summary>Lets no run start while memory is above the high-water mark of the container, or of a limit of one's own.
    /// After it was shut, runs start one at a time for a while: a whole queue let go at once would be past the limit before
    /// it could be measured.</summary>
    internal sealed class MemoryGate
    {
        private const long UnlimitedBytes = 1L << 60; // cgroup v1 writes "no limit" as a number near 2^63
        private const int HighWaterPercent = 90;
        private static readonly TimeSpan Ramp = TimeSpan.FromSeconds(0.2), Recovery = TimeSpan.FromSeconds(5);

        // Inside a container its own cgroup is mounted as the root.
        private static readonly string[][] Cgroups =
        {
            new[] { "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file " },
            new[]
            {
                "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file ",
            },
        };

        private readonly string[] cgroup = Cgroups.FirstOrDefault(names => Number(names[0]) < UnlimitedBytes);
        private readonly object mutex = new object();
        private readonly Stopwatch sinceStart = Stopwatch.StartNew();
        private Stopwatch recovered;
        private bool shut;

        /// <summary>For the resident memory of the process; 0: none.</summary>
        public long OwnLimitBytes { get; set; }

        public static long ResidentBytes => long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1]) * Environment.SystemPageSize;

        /// <summary>Whether memory is below the mark.</summary>
        public bool IsOpen()
        {
            var below = OwnLimitBytes == 0 || ResidentBytes <= OwnLimitBytes / 100 * HighWaterPercent;
            if (cgroup != null)
                below &= WorkingSet() <= Number(cgroup[0]) / 100 * HighWaterPercent;
            lock (mutex)
            {
                if (below && shut)
                    recovered = Stopwatch.StartNew();
                shut = !below;
            }
            return below;
        }

        /// <summary>Whether one more run may start; the caller then starts it.</summary>
        public bool MayStart()
        {
            if (!IsOpen())
                return false;
            lock (mutex)
            {
                if (recovered?.Elapsed < Recovery && sinceStart.Elapsed < Ramp)
                    return false;
                sinceStart.Restart();
                return true;
            }
        }

        private long WorkingSet()
        {
            var inactive = File.ReadLines(cgroup[2]).FirstOrDefault(line => line.StartsWith(cgroup[3], StringComparison.Ordinal));
            return Number(cgroup[1]) - (inactive == null ? 0 : long.Parse(inactive.Substring(cgroup[3].Length)));
        }

        private static long Number(string path) =>
            File.Exists(path) && long.TryParse(File.ReadAllText(path).Trim(), out var number) ? number : long.MaxValue; // "max"
    }
}
