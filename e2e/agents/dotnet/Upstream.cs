using System;
using System.Collections.Concurrent;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace Agentscaler.Agents
{
    /// <summary>A call that ended badly.</summary>
    internal sealed class UpstreamFailure : Exception
    {
        /// <param name="kind">429, 5xx or timeout; null says nothing of the provider's health.</param>
        public UpstreamFailure(string kind, Exception cause = null)
            : base("upstream " + (kind ?? "refused"), cause) => Kind = kind;

        public string Kind { get; }
    }

    /// <summary>The model provider: one or more clients that take turns, behind one pool of connections.</summary>
    internal sealed class Upstream
    {
        private readonly Client[] clients;
        private readonly AgentMetrics metrics;
        private readonly Limiter pool = new Limiter(() => true, _ => { });
        private AgentSettings settings;
        private int turn;

        public Upstream(Uri[] clients, AgentMetrics metrics)
        {
            this.clients = clients.Select(each => new Client { Address = each }).ToArray();
            this.metrics = metrics;
        }

        /// <summary>Calls under way end with what they began with.</summary>
        public void Retune(AgentSettings wanted)
        {
            settings = wanted;
            pool.Resize(wanted.Connections, int.MaxValue);
        }

        /// <summary>Asks for an answer that takes so many seconds; where that fails again, each time on the next client, as
        /// often as the settings say.</summary>
        /// <exception cref="UpstreamFailure">The last attempt failed.</exception>
        public async Task Ask(double seconds)
        {
            var now = settings;
            var first = (uint)Interlocked.Increment(ref turn);
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    await Call(clients[(int)((first + (uint)attempt) % clients.Length)], seconds, now.RequestTimeout);
                    return;
                }
                catch (UpstreamFailure failure) when (failure.Kind != null && attempt < now.Attempts)
                {
                }
                await Task.Delay(now.RetryPause);
            }
        }

        private async Task Call(Client client, double seconds, TimeSpan timeout)
        {
            await pool.Acquire();
            try
            {
                var connection = Fresh(client.Kept) ?? new Connection(client.Address);
                var status = await Send(connection, seconds, timeout);
                client.Kept.Add(connection);
                if (status >= 400)
                    throw new UpstreamFailure(status == 429 ? "429" : status >= 500 ? "5xx" : null);
                metrics.Calls["success"].Add();
            }
            catch (UpstreamFailure failure) when (failure.Kind != null)
            {
                metrics.Calls["failure"].Add();
                metrics.Errors[failure.Kind].Add();
                throw;
            }
            finally
            {
                pool.Release();
            }
        }

        private static Connection Fresh(ConcurrentBag<Connection> kept)
        {
            while (kept.TryTake(out var connection))
            {
                if (connection.IsFresh)
                    return connection;
                connection.Dispose();
            }
            return null;
        }

        private static async Task<int> Send(Connection connection, double seconds, TimeSpan timeout)
        {
            var late = false;
            TimerCallback cut = _ =>
            {
                late = true;
                connection.Dispose();
            };
            try
            {
                using (new Timer(cut, null, timeout, Timeout.InfiniteTimeSpan))
                    return await connection.Post("complete", "{\"seconds\": " + seconds.ToString("R", CultureInfo.InvariantCulture) + "}");
            }
            catch (Exception error) when (error is IOException || error is SocketException || error is ObjectDisposedException)
            {
                connection.Dispose();
                throw new UpstreamFailure(late ? "timeout" : "5xx", error); // refused, or cut
            }
        }

        private sealed class Client
        {
            public readonly ConcurrentBag<Connection> Kept = new ConcurrentBag<Connection>();
            public Uri Address;
        }
    }
}
