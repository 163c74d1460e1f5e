using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading.Tasks;

namespace Agentscaler.Agents
{
    /// <summary>One kept connection to a client of the model provider, for one call at a time. Mono's HttpWebRequest, and
    /// HttpClient on top of it, hold threads of the pool while they connect: fifty calls at once stand still for seconds.</summary>
    internal sealed class Connection : IDisposable
    {
        private const int HeadBytesMax = 16384;
        private static readonly Regex Length = new Regex(@"\r\nContent-Length: *(\d+)\r\n", RegexOptions.IgnoreCase);
        private static readonly Regex Closing = new Regex(@"\r\nConnection: *close\r\n", RegexOptions.IgnoreCase);
        private readonly TcpClient socket = new TcpClient { NoDelay = true };
        private readonly Stopwatch idle = Stopwatch.StartNew();
        private readonly Uri client;
        private bool ended;

        public Connection(Uri client) => this.client = client;

        /// <summary>Whether another call may be made on it: a provider closes connections that rest.</summary>
        public bool IsFresh => !ended && idle.Elapsed < TimeSpan.FromSeconds(30);

        /// <summary>Ends it; a call on it fails.</summary>
        public void Dispose()
        {
            ended = true;
            socket.Dispose();
        }

        /// <summary>Posts a JSON document and reads the answer to its end; its status.</summary>
        /// <exception cref="IOException">Refused, cut or no HTTP; also SocketException and ObjectDisposedException.</exception>
        public async Task<int> Post(string path, string document)
        {
            if (!socket.Connected)
                await socket.ConnectAsync(client.Host, client.Port);
            var stream = socket.GetStream();
            var request = Encoding.ASCII.GetBytes(
                $"POST {new Uri(client, path).AbsolutePath} HTTP/1.1\r\nHost: {client.Authority}\r\nContent-Type: application/json\r\n"
                + FormattableString.Invariant($"Content-Length: {document.Length}\r\n\r\n{document}"));
            await stream.WriteAsync(request, 0, request.Length);

            var read = new byte[HeadBytesMax];
            var filled = 0;
            int headEnd;
            do
            {
                filled += await ReadSome(stream, read, filled);
                headEnd = Encoding.ASCII.GetString(read, 0, filled).IndexOf("\r\n\r\n", StringComparison.Ordinal);
            }
            while (headEnd < 0);
            var head = Encoding.ASCII.GetString(read, 0, headEnd + 2);
            var length = Length.Match(head);
            if (!length.Success || !head.StartsWith("HTTP/1.", StringComparison.Ordinal))
                throw new IOException("an answer without Content-Length");
            var left = long.Parse(length.Groups[1].Value, CultureInfo.InvariantCulture) - (filled - headEnd - 4);
            for (; left > 0; left -= await ReadSome(stream, read, 0))
            {
            }
            ended = Closing.IsMatch(head);
            idle.Restart();
            return int.Parse(head.Substring(9, 3), CultureInfo.InvariantCulture);
        }

        private static async Task<int> ReadSome(Stream stream, byte[] into, int offset)
        {
            var count = await stream.ReadAsync(into, offset, into.Length - offset);
            return count > 0 ? count : throw new IOException("the connection was cut");
        }
    }
}
