using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Agentscaler.Agents
{
    /// <summary>The HTTP side, with the paths and answers of the reference agent.</summary>
    internal sealed class Front
    {
        private const int BodyBytesMax = 1 << 20, KeyLengthMax = 200;
        private const double MemoryFactorMax = 100;
        private static readonly Encoding StrictUtf8 = new UTF8Encoding(false, true);
        private readonly HttpListener listener = new HttpListener { IgnoreWriteExceptions = true };
        private readonly Agent agent;
        private readonly Shape shape;
        private readonly Func<string> ofTuning;
        private int answering;

        /// <param name="ofTuning">Metrics of the settings' watcher.</param>
        public Front(Agent agent, Shape shape, Func<string> ofTuning, string host, int port)
        {
            this.agent = agent;
            this.shape = shape;
            this.ofTuning = ofTuning;
            var anywhere = host == "0.0.0.0" || host == "::";
            listener.Prefixes.Add(FormattableString.Invariant($"http://{(anywhere ? "*" : host)}:{port}/"));
        }

        public void Start()
        {
            listener.Start();
            Task.Run(Accept);
        }

        /// <summary>Waits for the last answers and closes the port.</summary>
        public void Stop(TimeSpan patience)
        {
            SpinWait.SpinUntil(() => Volatile.Read(ref answering) == 0, patience);
            listener.Stop();
        }

        private async Task Accept()
        {
            while (listener.IsListening)
            {
                var context = await listener.GetContextAsync();
                ThreadPool.QueueUserWorkItem(async _ => await Serve(context));
            }
        }

        private async Task Serve(HttpListenerContext context)
        {
            Interlocked.Increment(ref answering);
            try
            {
                var request = context.Request;
                switch (request.HttpMethod + " " + request.Url.AbsolutePath)
                {
                    case "POST /run":
                        await Run(context);
                        break;
                    case "GET /metrics":
                        Answer(context, 200, "text/plain; version=0.0.4; charset=utf-8", agent.Metrics(ofTuning()));
                        break;
                    case "GET /healthz":
                    case "GET /livez":
                        Text(context, 200, "alive");
                        break;
                    case "GET /readyz":
                        Text(context, agent.Draining ? 503 : 200, agent.Draining ? "draining" : "ready");
                        break;
                    default:
                        Text(context, 404, "not found");
                        break;
                }
            }
            catch (Exception error) when (error is HttpListenerException || error is IOException || error is ObjectDisposedException)
            {
                // Nobody is there to hear it.
            }
            catch (Exception error)
            {
                Console.Error.WriteLine(error);
                context.Response.Abort();
            }
            finally
            {
                Interlocked.Decrement(ref answering);
            }
        }

        private async Task Run(HttpListenerContext context)
        {
            Job job;
            try
            {
                job = Parse(await Body(context.Request));
            }
            catch (Exception error) when (error is FormatException || error is ArgumentException)
            {
                Text(context, 400, error.Message);
                return;
            }
            try
            {
                var bytes = await agent.Run(job, wait =>
                    context.Response.Headers["X-Queue-Wait-Seconds"] = wait.TotalSeconds.ToString("F3", CultureInfo.InvariantCulture));
                Document(context, 200, FormattableString.Invariant($"{{\"key\": {Quoted(job.Key)}, \"context_bytes\": {bytes}}}"));
            }
            catch (Refusal refusal)
            {
                context.Response.Headers["Retry-After"] = refusal.RetryAfterSeconds.ToString(CultureInfo.InvariantCulture);
                Document(context, 503, $"{{\"rejected\": \"{refusal.Reason}\"}}");
            }
            catch (UpstreamFailure failure)
            {
                Document(context, 502, $"{{\"error\": \"{failure.Kind ?? "upstream"}\"}}");
            }
        }

        private static async Task<string> Body(HttpListenerRequest request)
        {
            var read = new MemoryStream();
            var part = new byte[8192];
            for (int count; (count = await request.InputStream.ReadAsync(part, 0, part.Length)) > 0;)
            {
                read.Write(part, 0, count);
                if (read.Length > BodyBytesMax)
                    throw new FormatException("the body is too large");
            }
            return StrictUtf8.GetString(read.ToArray());
        }

        // {"key": text, "memory_factor": number}, both optional.
        private Job Parse(string body)
        {
            var document = Json.Parse(body.Length == 0 ? "{}" : body) as Dictionary<string, object>;
            if (document == null || document.Keys.Except(new[] { "key", "memory_factor" }).Any())
                throw new FormatException("expected an object with \"key\" and \"memory_factor\", both optional");
            document.TryGetValue("key", out var key);
            if (key != null && !(key is string text && StrictUtf8.GetByteCount(text) >= 0 && new StringInfo(text).LengthInTextElements <= KeyLengthMax))
                throw new FormatException($"key must be a string of at most {KeyLengthMax} characters");
            var factor = document.TryGetValue("memory_factor", out var value) ? value as double? ?? -1 : 1;
            if (!(factor >= 0 && factor <= MemoryFactorMax))
                throw new FormatException($"memory_factor must be a number from 0 to {MemoryFactorMax}");
            return shape.Draw((string)key, factor);
        }

        private static string Quoted(string text) =>
            "\"" + string.Concat(text.Select(each =>
                each == '"' || each == '\\' ? "\\" + each : each < ' ' ? "\\u" + ((int)each).ToString("x4") : each.ToString())) + "\"";

        private static void Text(HttpListenerContext context, int status, string text) => Answer(context, status, "text/plain", text);

        private static void Document(HttpListenerContext context, int status, string text) =>
            Answer(context, status, "application/json; charset=utf-8", text);

        private static void Answer(HttpListenerContext context, int status, string type, string text)
        {
            var body = Encoding.UTF8.GetBytes(text);
            context.Response.StatusCode = status;
            context.Response.ContentType = type;
            context.Response.Close(body, false);
        }
    }
}
