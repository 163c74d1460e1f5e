using System;
using System.Threading;
using System.Threading.Tasks;

namespace Agentscaler.Tests
{
    /// <summary>The example of the README.</summary>
    internal static class Example
    {
        public static async Task Run(CancellationToken stop)
        {
            var defaults = new Settings(maxConcurrent: 8, cacheMaxBytes: 64 << 20, cacheTtlSeconds: 900);
            var watcher = new SettingsWatcher<(long Workers, TimeSpan Lifetime)>(
                "testdata", defaults, "appsettings.json", // no file of your own: null
                bind: (common, own) => (
                    own.Count("ParallelToolExecutor:MaxConcurrency", 1) ?? common.MaxConcurrent,
                    own.Span("ResponseCache:DefaultExpiration") ?? TimeSpan.FromSeconds(common.CacheTtlSeconds)),
                apply: settings => Console.WriteLine(settings)); // here: resize your pool, return when it is done
            watcher.Poll(); // what is there already, before the first run
            Console.WriteLine(watcher.Metrics()); // serve this beside your own metrics
            await watcher.Run(stop); // polls on; leave it out where only a start can take settings
        }
    }
}
