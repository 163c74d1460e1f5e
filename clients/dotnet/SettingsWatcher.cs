using System;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Agentscaler
{
    /// <summary>Applies the settings of a directory whenever they change: tuning.json, and the framework's own file beside
    /// it. It opens the files by their paths four times a second and compares contents: cheap, and not fooled by the swap of
    /// the symlink ..data in a ConfigMap volume, which FileSystemWatcher misses.</summary>
    /// <typeparam name="T">What the agent makes of the two.</typeparam>
    public sealed class SettingsWatcher<T>
    {
        private static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(0.25);
        private static readonly Encoding StrictUtf8 = new UTF8Encoding(false, true);
        private readonly string directory;
        private readonly string[] names;
        private readonly Settings defaults;
        private readonly Func<Settings, AppSettings, T> bind;
        private readonly Action<T> apply;
        private string[] seen = { null, null };
        private long generation, errors;

        /// <param name="directory">Null: AGENTSCALER_SETTINGS_DIR, else /etc/agentscaler.</param>
        /// <param name="defaults">The agent's own.</param>
        /// <param name="native">Name of the framework's own file; null: there is none.</param>
        /// <param name="bind">Makes the agent's settings of both files; a FormatException says that a value is wrong.</param>
        /// <param name="apply">Returns when they are in force.</param>
        public SettingsWatcher(
            string directory, Settings defaults, string native, Func<Settings, AppSettings, T> bind, Action<T> apply)
        {
            this.directory = directory ?? Environment.GetEnvironmentVariable("AGENTSCALER_SETTINGS_DIR") ?? "/etc/agentscaler";
            this.defaults = defaults;
            this.bind = bind;
            this.apply = apply;
            names = new[] { "tuning.json", native };
        }

        /// <summary>Where a line goes when settings came into force or are broken; standard error at first.</summary>
        public Action<string> Log { get; set; } = Console.Error.WriteLine;

        /// <summary>The watcher's own two metrics in the Prometheus text format.</summary>
        public string Metrics() => FormattableString.Invariant(
$@"# HELP agent_tuning_applied_generation Generation of the settings in force; 0: no file was applied yet.
# TYPE agent_tuning_applied_generation gauge
agent_tuning_applied_generation {Interlocked.Read(ref generation)}
# HELP agent_tuning_errors_total Settings files that could not be read or broke the schema, once for each broken content.
# TYPE agent_tuning_errors_total counter
agent_tuning_errors_total {Interlocked.Read(ref errors)}
");

        /// <summary>Polls until it is cancelled.</summary>
        public async Task Run(CancellationToken stop)
        {
            for (; !stop.IsCancellationRequested; await Task.Delay(PollInterval, stop).ContinueWith(_ => { }).ConfigureAwait(false))
                Poll();
        }

        /// <summary>Applies what is new; call it once before the agent serves, and not beside Run. What is missing or has
        /// not changed changes nothing. If one of the two files is broken, neither is applied: they belong together.</summary>
        public void Poll()
        {
            var contents = Read();
            if (contents.SequenceEqual(seen))
                return;
            for (var again = Read(); !again.SequenceEqual(contents); again = Read())
                contents = again; // ..data was swapped between the two files
            seen = contents;
            Tuning tuning;
            T settings;
            try
            {
                tuning = contents[0] == null ? new Tuning(0, defaults) : Tuning.Parse(contents[0], defaults);
                settings = bind(tuning.Settings, AppSettings.Parse(contents[1] ?? "{}"));
            }
            catch (Exception error) when (error is FormatException || error is ArgumentException)
            {
                Interlocked.Increment(ref errors);
                Log("the settings are broken, the last good ones stay: " + error.Message);
                return;
            }
            apply(settings);
            Interlocked.Exchange(ref generation, tuning.Generation); // last: it says that all of the above is in force
            var unknown = tuning.Unknown.Count == 0 ? "" : "; without effect: " + string.Join(", ", tuning.Unknown);
            Log($"settings are in force, generation {generation}{unknown}");
        }

        private string[] Read() => names.Select((name, at) => name == null ? null : Read(name, seen[at])).ToArray();

        private string Read(string name, string last)
        {
            try
            {
                return StrictUtf8.GetString(File.ReadAllBytes(Path.Combine(directory, name)));
            }
            catch (Exception error) when (error is FileNotFoundException || error is DirectoryNotFoundException)
            {
                return last; // the mount is optional, and a file that goes away changes nothing
            }
            catch (Exception error) when (error is IOException || error is UnauthorizedAccessException || error is ArgumentException)
            {
                return error.Message; // which is no JSON
            }
        }
    }
}
