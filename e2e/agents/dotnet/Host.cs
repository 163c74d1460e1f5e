using System;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using Mono.Unix;
using Mono.Unix.Native;

namespace Agentscaler.Agents
{
    /// <summary>Runs an agent until SIGTERM.</summary>
    internal static class Host
    {
        private static readonly TimeSpan LastAnswers = TimeSpan.FromSeconds(5);

        public static int Run(string[] arguments, Framework framework)
        {
            CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
            Options options;
            try
            {
                options = new Options(arguments);
            }
            catch (FormatException error)
            {
                Console.Error.WriteLine(error.Message);
                return 2;
            }
            var terminated = new[] { new UnixSignal(Signum.SIGTERM), new UnixSignal(Signum.SIGINT) };
            var agent = new Agent(framework, options);
            var defaults = framework.Defaults(options);
            agent.Retune(framework.Bind(defaults, AppSettings.Parse("{}"), options), options.QueueSize);
            var watcher = new SettingsWatcher<AgentSettings>(
                options.SettingsDirectory, defaults, "appsettings.json",
                (common, own) => framework.Bind(common, own, options),
                wanted => agent.Retune(wanted, options.QueueSize));
            watcher.Poll();
            if (framework.Live)
                Task.Run(() => Kept(watcher.Run(CancellationToken.None)));
            Task.Run(() => Kept(agent.Tend()));
            var front = new Front(agent, options.Shape(), watcher.Metrics, options.Host, options.Port);
            try
            {
                front.Start();
            }
            catch (Exception error) when (error is SocketException || error is HttpListenerException)
            {
                Console.Error.WriteLine("cannot listen: " + error.Message);
                return 1;
            }
            UnixSignal.WaitAny(terminated);
            agent.Drain(options.DrainDelay, options.DrainLinger);
            front.Stop(LastAnswers); // the last runs have ended; their answers may still be on the way
            Console.Error.WriteLine("drained");
            Syscall._exit(0); // nothing is left to do, and Mono's own end now and then waits for a thread that never comes
            return 0;
        }

        // Without it the process would go on, half of it dead.
        private static async Task Kept(Task task)
        {
            try
            {
                await task;
            }
            catch (Exception error)
            {
                Environment.FailFast("a part of the agent ended", error);
            }
        }
    }
}
