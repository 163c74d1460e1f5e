using System;

namespace Agentscaler.Agents
{
    /// <summary>Where the two frameworks differ: their settings, and what they measure.</summary>
    internal abstract class Framework
    {
        /// <summary>Whether settings are taken while the agent runs; else only its start reads them.</summary>
        public abstract bool Live { get; }

        /// <summary>Attempts, workers and all else that the files leave open, as the guide has it.</summary>
        public abstract Settings Defaults(Options options);

        /// <summary>Makes the agent's settings of tuning.json and appsettings.json; the latter goes first.</summary>
        /// <exception cref="FormatException">A value is of the wrong kind.</exception>
        public abstract AgentSettings Bind(Settings common, AppSettings own, Options options);

        /// <summary>Counts a run that had a worker for so long.</summary>
        public abstract void Ended(TimeSpan duration, bool success);

        /// <summary>Writes the guide's own metrics.</summary>
        public abstract void Write(Exposition to, Limiter limiter);
    }
}
