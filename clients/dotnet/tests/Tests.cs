using System;
using System.Linq;
using System.Reflection;

namespace Agentscaler.Tests
{
    /// <summary>Runs every public method of the classes named ...Tests; 1 when one of them failed. Its working directory is
    /// that of the library.</summary>
    internal static class Tests
    {
        public static int Main()
        {
            var failed = 0;
            foreach (var kind in typeof(Tests).Assembly.GetTypes().Where(kind => kind.IsPublic && kind.Name.EndsWith("Tests")))
                foreach (var test in kind.GetMethods(BindingFlags.Instance | BindingFlags.Public | BindingFlags.DeclaredOnly))
                {
                    var stage = Activator.CreateInstance(kind);
                    try
                    {
                        test.Invoke(stage, null);
                        Console.WriteLine($"passed {kind.Name}.{test.Name}");
                    }
                    catch (TargetInvocationException error)
                    {
                        failed++;
                        Console.WriteLine($"FAILED {kind.Name}.{test.Name}: {error.InnerException}");
                    }
                    (stage as IDisposable)?.Dispose();
                }
            return failed == 0 ? 0 : 1;
        }

        /// <summary>Fails unless both are equal.</summary>
        public static void Equal<T>(T expected, T found, string what = "")
        {
            if (!Equals(expected, found))
                throw new InvalidOperationException($"{what} is {found}, not {expected}");
        }

        /// <summary>Fails unless it is refused as broken.</summary>
        public static void Refused(string what, Action read)
        {
            try
            {
                read();
            }
            catch (Exception error) when (error is FormatException || error is ArgumentException)
            {
                return;
            }
            throw new InvalidOperationException("accepted: " + what);
        }
    }
}
