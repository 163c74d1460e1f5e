using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;

namespace Agentscaler.Tests
{
    public sealed class SettingsTests
    {
        private static readonly Settings Defaults = new Settings(3, 1000, 60, 40, 30, 60, 10, 2);

        public void EveryKeyOfTheSchemaIsReadWithinItsBoundsAndNoOther()
        {
            var schema = AppSettings.Parse(File.ReadAllText("../../docs/tuning.schema.json"));
            Tests.Equal("1", schema.Text("properties:generation:minimum"));
            Tests.Equal(9, File.ReadAllText("../../docs/tuning.schema.json").Split(new[] { "\"maximum\"" }, 0).Length - 1, "keys");
            Tests.Equal(8, Tuning.Keys.Length);
            foreach (var key in Tuning.Keys)
            {
                var place = "properties:" + key.Path.Replace(".", ":properties:");
                Tests.Equal(schema.Text(place + ":minimum"), key.Minimum.ToString(), key.Path);
                Tests.Equal(schema.Text(place + ":maximum"), key.Maximum.ToString(), key.Path);
                foreach (var value in new[] { key.Minimum, key.Maximum })
                    Tests.Equal(value, Read(key.Path, value.ToString()).Settings.Values[Array.IndexOf(Tuning.Keys, key)], key.Path);
                foreach (var value in new object[]
                    { key.Minimum - 1, key.Maximum + 1, "1.5", "\"12\"", "true", "null", "[1]", "{}", "1e400", "01", "+1", "NaN" })
                    Tests.Refused($"{key.Path} {value}", () => Read(key.Path, value.ToString()));
            }
            foreach (var value in new[] { "0", "-1", "9007199254740992", "1.5", "null" })
                Tests.Refused("generation " + value, () => Tuning.Parse("{\"generation\": " + value + "}", Defaults));
        }

        public void EachPropertyHasTheValueOfItsKey()
        {
            var names = Tuning.Keys.Select(key => key.Path.Split('.')[1]).ToList();
            for (var at = 0; at < names.Count; at++)
            {
                var name = char.ToUpperInvariant(names[at][0]) + names[at].Substring(1);
                var property = typeof(Settings).GetProperty(Tuning.Keys[at].Path.StartsWith("cache.") ? "Cache" + name : name);
                Tests.Equal<object>(Defaults.Values[at], property.GetValue(Defaults), name);
            }
        }

        public void AnAbsentKeyMeansTheAgentsOwnDefault()
        {
            var tuning = Tuning.Parse("{\"generation\": 2, \"cache\": {\"ttlSeconds\": 5.0}}", Defaults);
            Tests.Equal(2L, tuning.Generation);
            Tests.Equal("3,1000,5,40,30,60,10,2", string.Join(",", tuning.Settings.Values));
            Tests.Equal(60L, Defaults.CacheTtlSeconds);
        }

        public void UnknownKeysAreToldAndHaveNoEffect()
        {
            var tuning = Tuning.Parse(
                "{\"generation\": 1, \"colour\": null, \"cache\": {\"MaxBytes\": 1, \"weight\": []}, \"workers.maxConcurrent\": 9, "
                + "\"\": 1, \"Workers\": {\"maxConcurrent\": 9}}", Defaults);
            Tests.Equal(",Workers,cache.MaxBytes,cache.weight,colour,workers.maxConcurrent",
                string.Join(",", tuning.Unknown.OrderBy(each => each, StringComparer.Ordinal)));
            Tests.Equal("3,1000,60,40,30,60,10,2", string.Join(",", tuning.Settings.Values));
        }

        public void WhatIsNotOneObjectOfJsonIsRefused()
        {
            foreach (var text in new[]
            {
                "", "{", "null", "[]", "7", "{}", "{\"generation\": 1} {}", "{\"generation\": 1,}", "{\"generation\": 1, }x",
                "{generation: 1}", "{\"generation\" 1}", "{\"generation\": 1 \"a\": 2}", "{,\"generation\": 1}", "{\"generation\": }",
                "{\"generation\": 1, \"a\": [1,]}", "{\"generation\": 1, \"a\": [1 2]}", "{\"generation\": 1, \"a\": tru}",
                "{\"generation\": 1, \"a\": \"\\q\"}", "{\"generation\": 1, \"a\": \"\n\"}", "{\"generation\": 1, \"a\": 'b'}",
                "{\"generation\": 1, 2: 3}", "{\"generation\": 1} // 1", "{\"generation\": 1]", "{\"generation\": 1, \"workers\": null}",
                "{\"generation\": 1, \"cache\": [1]}", "\ufeff{\"generation\": 1}", "{\"generation\": 1x}", "{\"generation\": -}",
                "{\"generation\": 1}" + new string(' ', 64 * 1024), new string('[', 60000),
                "{\"generation\": 1, \"a\": " + new string('[', 100) + new string(']', 100) + "}",
            })
                Tests.Refused(text.Substring(0, Math.Min(40, text.Length)), () => Tuning.Parse(text, Defaults));
        }

        public void TextOfJsonIsReadWithItsEscapes()
        {
            var read = AppSettings.Parse("{\"a\": \"\\u0041\\n\\\"\\\\\\/ü\\ud83d\\ude00\", \"\\u0062\": [1.5, {\"c\": true}], \"d\": -1e2}");
            Tests.Equal("A\n\"\\/ü\ud83d\ude00", read.Text("a"));
            Tests.Equal("1.5 True -100", $"{read.Text("b:0")} {read.Text("b:1:c")} {read.Text("d")}");
        }

        public void AppSettingsAreReadAsDotnetReadsThem()
        {
            var read = AppSettings.Parse("{\"Performance\": {\"MaxConcurrentAgents\": 100, \"TimeoutSeconds\": \"30\"}, \"Span\": \"1.02:03:04\"}");
            Tests.Equal(100, read.Count("performance:maxconcurrentagents", 1).Value);
            Tests.Equal(30, read.Count("Performance:TimeoutSeconds", 1).Value);
            Tests.Equal(new TimeSpan(1, 2, 3, 4), read.Span("Span").Value);
            Tests.Equal(null, read.Count("Performance:Other", 1));
            Tests.Equal(new TimeSpan(0, 15, 0), AppSettings.Parse("{\"a\": \"00:15\"}").Span("a").Value);
            read.AddEnvironment(new Hashtable { { "PERFORMANCE__MaxConcurrentAgents", "7" }, { "HOME", "/" } });
            Tests.Equal(7, read.Count("Performance:MaxConcurrentAgents", 1).Value);
        }

        public void ValuesOfTheWrongKindAreRefused()
        {
            foreach (var text in new[] { "\"many\"", "1.5", "0", "-3", "3000000000", "true", "\"\"", "\"1 2\"" })
                Tests.Refused(text, () => AppSettings.Parse("{\"a\": " + text + "}").Count("a", 1));
            foreach (var text in new[] { "90", "\"90\"", "\"-00:01:00\"", "\"25:00:00\"", "\"1h\"" })
                Tests.Refused(text, () => AppSettings.Parse("{\"a\": " + text + "}").Span("a"));
            Tests.Refused("two spellings", () => AppSettings.Parse("{\"a\": 1, \"A\": 2}"));
            Tests.Refused("no object", () => AppSettings.Parse("[1]"));
        }

        public void NumbersAreReadTheSameInEveryCulture()
        {
            CultureInfo.CurrentCulture = new CultureInfo("de-DE");
            try
            {
                Tests.Equal(12L, Read("workers.maxConcurrent", "12.0").Settings.MaxConcurrent);
                Tests.Equal("1.5", AppSettings.Parse("{\"a\": 1.5}").Text("a"));
            }
            finally
            {
                CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
            }
        }

        public void TheReadmeShowsTheExample()
        {
            var lines = File.ReadAllLines("tests/Example.cs").Skip(11).TakeWhile(line => line != "        }");
            var body = string.Join("\n", lines.Select(line => line.Substring(Math.Min(12, line.Length))));
            Tests.Equal(true, body.Length > 300 && File.ReadAllText("README.md").Contains("```csharp\n" + body + "\n```"), "in the README");
            var console = Console.Out;
            var said = new StringWriter();
            Console.SetOut(said);
            Example.Run(new CancellationToken(true)).Wait();
            Console.SetOut(console);
            Tests.Equal("(12, 00:15:00)", said.ToString().Split('\n')[0]);
            Tests.Equal(true, said.ToString().Contains("\nagent_tuning_applied_generation 7\n"), "reported");
        }

        private static Tuning Read(string path, string value)
        {
            var parts = path.Split('.');
            return Tuning.Parse("{\"generation\": 7, \"" + parts[0] + "\": {\"" + parts[1] + "\": " + value + "}}", Defaults);
        }
    }
}
