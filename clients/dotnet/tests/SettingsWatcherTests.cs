using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using Mono.Unix.Native;

namespace Agentscaler.Tests
{
    public sealed class SettingsWatcherTests : IDisposable
    {
        private readonly string directory = Path.Combine(Path.GetTempPath(), "settings-" + Guid.NewGuid());
        private readonly List<string> applied = new List<string>();
        private readonly SettingsWatcher<string> watcher;
        private int version;

        public SettingsWatcherTests()
        {
            Directory.CreateDirectory(directory);
            watcher = new SettingsWatcher<string>(
                directory, new Settings(maxConcurrent: 3), "appsettings.json",
                (common, own) => $"{common.MaxConcurrent} {own.Count("Own", 1)}",
                settings =>
                {
                    lock (applied)
                        applied.Add(settings + (watcher.Metrics().Contains($"generation {version}\n") ? " reported too early" : ""));
                })
            { Log = _ => { } };
        }

        void IDisposable.Dispose()
        {
            if (Directory.Exists(directory))
                Directory.Delete(directory, true);
        }

        public void EachSwapOfAConfigMapVolumeIsAppliedOnceAndWhole()
        {
            Expect(null, 0, 0);
            for (var generation = 1; generation <= 3; generation++)
            {
                Swap(TuningFile(generation, 10 * generation), "{\"Own\": " + generation + "}");
                Expect($"{10 * generation} {generation}", generation, 0);
                Expect(null, generation, 0);
            }
        }

        public void ABrokenFileOfTheTwoChangesNothingAndCountsOnce()
        {
            Swap(TuningFile(1, 5), "{\"Own\": 1}");
            Expect("5 1", 1, 0);
            Swap(TuningFile(2, 6), "{\"Own\": \"many\"}");
            Expect(null, 1, 1);
            Expect(null, 1, 1);
            Swap("{", "{\"Own\": 1}");
            Expect(null, 1, 2);
            Swap(TuningFile(3, 7), "{\"Own\": 2}");
            Expect("7 2", 3, 2);
        }

        public void AFileThatGoesAwayChangesNothing()
        {
            Swap(TuningFile(1, 5), "{\"Own\": 1}");
            Expect("5 1", 1, 0);
            Swap(TuningFile(2, 6), null);
            Expect("6 1", 2, 0);
            Directory.Delete(directory, true);
            Expect(null, 2, 0);
        }

        public void AFileThatCannotBeReadIsToldOnceAndRecovers()
        {
            var path = Path.Combine(directory, "tuning.json");
            Directory.CreateDirectory(path);
            Expect(null, 0, 1);
            Expect(null, 0, 1);
            Directory.Delete(path);
            File.WriteAllText(path, "");
            Expect(null, 0, 2); // empty is broken, and not missing
            var text = System.Text.Encoding.ASCII.GetBytes("{\"generation\": 3, \"?\": 1}");
            text[Array.IndexOf(text, (byte)'?')] = 0xff; // no UTF-8
            File.WriteAllBytes(path, text);
            Expect(null, 0, 3);
            File.WriteAllText(path, TuningFile(4, 9));
            Expect("9 ", 4, 3);
        }

        public void TheNativeFileAloneIsEnough()
        {
            File.WriteAllText(Path.Combine(directory, "appsettings.json"), "{\"Own\": 4}");
            Expect("3 4", 0, 0, mayBeZero: true);
        }

        public void RunFollowsADirectoryThatAppearsLater()
        {
            Directory.Delete(directory);
            using (var stop = new CancellationTokenSource())
            {
                var running = watcher.Run(stop.Token);
                Directory.CreateDirectory(directory);
                Swap(TuningFile(1, 5), null);
                var patience = DateTime.UtcNow.AddMinutes(1);
                while (!watcher.Metrics().Contains("generation 1\n") && DateTime.UtcNow < patience)
                    Thread.Sleep(20);
                stop.Cancel();
                running.Wait();
            }
            Tests.Equal("5 ", string.Join("|", applied));
        }

        // Writes a ConfigMap volume as the kubelet does: a new directory, and ..data swapped over to it.
        private void Swap(string tuning, string own)
        {
            var name = $"..version_{++version}";
            Directory.CreateDirectory(Path.Combine(directory, name));
            foreach (var file in new[] { ("tuning.json", tuning), ("appsettings.json", own) })
            {
                if (file.Item2 != null)
                    File.WriteAllText(Path.Combine(directory, name, file.Item1), file.Item2);
                Syscall.symlink(Path.Combine("..data", file.Item1), Path.Combine(directory, file.Item1));
            }
            Tests.Equal(0, Syscall.symlink(name, Path.Combine(directory, "..data_tmp")));
            Tests.Equal(0, Syscall.rename(Path.Combine(directory, "..data_tmp"), Path.Combine(directory, "..data")));
            if (version > 1)
                Directory.Delete(Path.Combine(directory, $"..version_{version - 1}"), true);
        }

        // Polls once and compares what was applied (null: nothing), the generation reported and the errors counted.
        private void Expect(string settings, int generation, int errors, bool mayBeZero = false)
        {
            applied.Clear();
            version = mayBeZero ? -1 : Math.Max(version, generation);
            watcher.Poll();
            Tests.Equal(settings ?? "", string.Join("|", applied), "what was applied");
            foreach (var line in new[] { $"agent_tuning_applied_generation {generation}\n", $"agent_tuning_errors_total {errors}\n" })
                Tests.Equal(true, watcher.Metrics().Contains("\n" + line), line + watcher.Metrics());
        }

        private static string TuningFile(int generation, int workers) =>
            "{\"generation\": " + generation + ", \"workers\": {\"maxConcurrent\": " + workers + "}}";
    }
}
