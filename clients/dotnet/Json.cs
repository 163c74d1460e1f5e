using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Agentscaler
{
    /// <summary>Strict JSON. What netstandard2.0 brings (JsonReaderWriterFactory) lets trailing commas, 01 and a second
    /// document pass, which the contract refuses; the better ones are packages.</summary>
    internal static class Json
    {
        private const int DepthMax = 64;
        private static readonly Regex Token = new Regex(
            @"\G([][{},:]|""(?:[^""\\\x00-\x1f]|\\(?:[""\\/bfnrt]|u[0-9a-fA-F]{4}))*"""
            + @"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9.a-zA-Z])|(?:true|false|null)(?![0-9a-zA-Z]))[ \t\r\n]*");

        /// <summary>Objects are dictionaries (of a key that stands twice the last one counts), arrays lists, and string,
        /// double, bool and null the rest.</summary>
        /// <exception cref="FormatException">It is not JSON.</exception>
        public static object Parse(string text)
        {
            var tokens = new Queue<string>();
            for (var at = text.Length - text.TrimStart(' ', '\t', '\r', '\n').Length; at < text.Length;)
            {
                var found = Token.Match(text, at);
                tokens.Enqueue(found.Success ? found.Groups[1].Value : throw new FormatException("not JSON at character " + at));
                at += found.Length;
            }
            var value = Value(tokens, 0);
            return tokens.Count == 0 ? value : throw Unexpected(tokens.Peek());
        }

        private static object Value(Queue<string> tokens, int depth)
        {
            var token = depth <= DepthMax ? Next(tokens) : throw new FormatException("too deep");
            switch (token[0])
            {
                case '{':
                    var members = new Dictionary<string, object>(StringComparer.Ordinal);
                    Each(tokens, "}", () =>
                    {
                        var key = Next(tokens);
                        if (key[0] != '"' || Next(tokens) != ":")
                            throw Unexpected(key);
                        members[Unescaped(key)] = Value(tokens, depth + 1);
                    });
                    return members;
                case '[':
                    var items = new List<object>();
                    Each(tokens, "]", () => items.Add(Value(tokens, depth + 1)));
                    return items;
                case '"': return Unescaped(token);
                case 't': return true;
                case 'f': return false;
                case 'n': return null;
                case '}': case ']': case ',': case ':': throw Unexpected(token);
            }
            return double.TryParse(token, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
                ? number : double.PositiveInfinity;
        }

        private static void Each(Queue<string> tokens, string end, Action read)
        {
            var token = tokens.Count > 0 && tokens.Peek() == end ? Next(tokens) : ",";
            for (; token == ","; token = Next(tokens))
                read();
            if (token != end)
                throw Unexpected(token);
        }

        private static string Next(Queue<string> tokens) =>
            tokens.Count > 0 ? tokens.Dequeue() : throw new FormatException("not JSON: it ends too early");

        private static FormatException Unexpected(string token) => new FormatException("not JSON: unexpected " + token);

        private static string Unescaped(string token) =>
            Regex.Replace(token.Substring(1, token.Length - 2), @"\\(?:u(....)|(.))", found => found.Groups[1].Success
                ? ((char)Convert.ToUInt16(found.Groups[1].Value, 16)).ToString()
                : "\b\f\n\r\t\"\\/"["bfnrt\"\\/".IndexOf(found.Groups[2].Value[0])].ToString());
    }
}
