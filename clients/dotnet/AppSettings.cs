using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;

namespace Agentscaler
{
    /// <summary>An appsettings.json as .NET's configuration has it: texts by paths, "Performance:MaxConcurrentAgents", in
    /// any case.</summary>
    public sealed class AppSettings
    {
        private static readonly string[] Forms = { "c", @"hh\:mm" };
        private readonly Dictionary<string, string> values = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);

        /// <summary>Reads a file's text.</summary>
        /// <exception cref="FormatException">It is no JSON object, or has one key in two spellings.</exception>
        public static AppSettings Parse(string text)
        {
            var read = new AppSettings();
            var root = Json.Parse(text) as Dictionary<string, object>;
            foreach (var member in root ?? throw new FormatException("the settings file must hold one object"))
                read.Add(member.Key, member.Value);
            return read;
        }

        /// <summary>Puts environment variables over it: Performance__MaxConcurrentAgents. Null: those of the process.</summary>
        public AppSettings AddEnvironment(IDictionary variables = null)
        {
            foreach (DictionaryEntry each in variables ?? Environment.GetEnvironmentVariables())
                values[((string)each.Key).Replace("__", ":")] = (string)each.Value;
            return this;
        }

        /// <summary>What stands at a path; null: nothing.</summary>
        public string Text(string path) => values.TryGetValue(path, out var value) ? value : null;

        /// <summary>A whole number of at least so much; null: nothing stands there.</summary>
        /// <exception cref="FormatException">It is none.</exception>
        public int? Count(string path, int minimum) =>
            Text(path) == null ? (int?)null
            : int.TryParse(Text(path), NumberStyles.Integer, CultureInfo.InvariantCulture, out var count) && count >= minimum ? count
            : throw new FormatException(FormattableString.Invariant($"{path} must be a whole number, at least {minimum}, not \"{Text(path)}\""));

        /// <summary>A TimeSpan such as 00:15:00; null: nothing stands there.</summary>
        /// <exception cref="FormatException">It is none, or below 0. A bare number, and 25:00:00, would be days.</exception>
        public TimeSpan? Span(string path) =>
            Text(path) == null ? (TimeSpan?)null
            : Text(path).Contains(":") && TimeSpan.TryParseExact(Text(path), Forms, CultureInfo.InvariantCulture, out var span)
            && span >= TimeSpan.Zero ? span
            : throw new FormatException($"{path} must be a TimeSpan such as 00:15:00, not \"{Text(path)}\"");

        private void Add(string path, object value)
        {
            var index = 0;
            if (value is Dictionary<string, object> members)
                foreach (var member in members)
                    Add(path + ":" + member.Key, member.Value);
            else if (value is List<object> items)
                foreach (var item in items)
                    Add(path + ":" + index++.ToString(CultureInfo.InvariantCulture), item);
            else
                values.Add(path, Convert.ToString(value, CultureInfo.InvariantCulture));
        }
    }
}
