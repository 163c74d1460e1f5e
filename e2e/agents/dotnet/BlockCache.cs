using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Text;
using System.Threading.Tasks;

namespace Agentscaler.Agents
{
    /// <summary>Blocks by key, bounded by bytes and by age; the least recently used goes first. The guides' MemoryCache
    /// counts what an agent gives each entry; this one counts what an entry takes.</summary>
    internal sealed class BlockCache
    {
        private const long EntryOverheadBytes = 300; // of an entry without its key and block
        private readonly AgentMetrics metrics;
        private readonly object mutex = new object();
        private readonly Dictionary<string, LinkedListNode<Entry>> entries = new Dictionary<string, LinkedListNode<Entry>>();
        private readonly LinkedList<Entry> used = new LinkedList<Entry>(); // the latest used in front
        private readonly Dictionary<string, Load> loads = new Dictionary<string, Load>();
        private long bytes, maxBytes;
        private TimeSpan lifetime, idle;

        public BlockCache(AgentMetrics metrics) => this.metrics = metrics;

        /// <summary>What is held, and the bound on it.</summary>
        public (long Bytes, long MaxBytes) Sizes
        {
            get
            {
                lock (mutex)
                    return (bytes, maxBytes);
            }
        }

        /// <summary>The block of a key; what is missing is loaded once, however many ask at that time.</summary>
        public async Task<Held> Get(string key, Func<Task<Block>> fetch)
        {
            Load load;
            lock (mutex)
            {
                if (entries.TryGetValue(key, out var found) && !DropIfExpired(found))
                {
                    used.Remove(found);
                    used.AddFirst(found);
                    found.Value.Idle.Restart();
                    found.Value.Block.Hold();
                    metrics.CacheHits.Add();
                    return new Held(found.Value.Block);
                }
                if (loads.TryGetValue(key, out load))
                    metrics.CacheHits.Add();
                else
                {
                    metrics.CacheMisses.Add();
                    loads[key] = load = new Load();
                    load.Task = Fill(key, fetch);
                }
                load.Callers++;
            }
            Block block = null;
            try
            {
                block = await load.Task.ConfigureAwait(false);
                block.Hold();
                return new Held(block);
            }
            finally
            {
                lock (mutex)
                    if (--load.Callers == 0)
                        block?.Release(); // what the load itself holds
            }
        }

        /// <summary>Puts other bounds in force, also on what is stored already.</summary>
        public void Retune(long boundBytes, TimeSpan age, TimeSpan unused)
        {
            lock (mutex)
            {
                maxBytes = boundBytes;
                lifetime = age;
                idle = unused;
                Evict(maxBytes);
            }
            Sweep();
        }

        /// <summary>Drops what has expired.</summary>
        public void Sweep()
        {
            lock (mutex)
                for (LinkedListNode<Entry> node = used.First, next; node != null; node = next)
                {
                    next = node.Next;
                    DropIfExpired(node);
                }
        }

        /// <summary>Evicts half of what is held; the bounds stay.</summary>
        public void Halve()
        {
            lock (mutex)
                Evict(bytes / 2);
        }

        private async Task<Block> Fill(string key, Func<Task<Block>> fetch)
        {
            await Task.Yield(); // not under the lock of who asked
            try
            {
                var block = await fetch().ConfigureAwait(false);
                lock (mutex)
                    Store(key, block);
                return block;
            }
            finally
            {
                lock (mutex)
                    loads.Remove(key);
            }
        }

        private void Store(string key, Block block)
        {
            var taken = block.SizeBytes + Encoding.UTF8.GetByteCount(key) + EntryOverheadBytes;
            if (taken > maxBytes)
                return; // it would push out everything else and still not fit
            if (entries.TryGetValue(key, out var before))
                Remove(before);
            Evict(maxBytes - taken);
            block.Hold();
            entries[key] = used.AddFirst(new Entry { Key = key, Block = block, Bytes = taken });
            bytes += taken;
        }

        private void Evict(long bound)
        {
            for (; bytes > bound; metrics.CacheEvictions.Add())
                Remove(used.Last);
        }

        private bool DropIfExpired(LinkedListNode<Entry> node)
        {
            if (node.Value.Age.Elapsed < lifetime && node.Value.Idle.Elapsed < idle)
                return false;
            Remove(node);
            metrics.CacheExpired.Add();
            return true;
        }

        private void Remove(LinkedListNode<Entry> node)
        {
            used.Remove(node);
            entries.Remove(node.Value.Key);
            bytes -= node.Value.Bytes;
            node.Value.Block.Release();
        }

        private sealed class Entry
        {
            public readonly Stopwatch Age = Stopwatch.StartNew();
            public readonly Stopwatch Idle = Stopwatch.StartNew();
            public string Key;
            public Block Block;
            public long Bytes;
        }

        private sealed class Load
        {
            public Task<Block> Task;
            public int Callers;
        }
    }
}
