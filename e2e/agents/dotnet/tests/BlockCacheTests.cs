using System;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Agentscaler.Agents;

namespace Agentscaler.Tests
{
    public sealed class BlockCacheTests
    {
        private const int BlockBytes = 40960;
        private readonly AgentMetrics metrics = new AgentMetrics();
        private readonly BlockCache cache;
        private int loads;

        public BlockCacheTests()
        {
            cache = new BlockCache(metrics);
            cache.Retune(3 * (BlockBytes + 1000), TimeSpan.FromHours(1), TimeSpan.FromHours(1));
        }

        public void TheLeastRecentlyUsedGoesFirst()
        {
            foreach (var key in new[] { "a", "b", "c", "a", "d" })
                Get(key);
            Tests.Equal((4L, 1L), (metrics.CacheMisses.Value, metrics.CacheEvictions.Value));
            Get("a");
            Tests.Equal(4, loads, "loads");
            Get("b");
            Tests.Equal(5, loads, "loads");
        }

        public void ASmallerCacheIsEvictedAtOnceAndAShorterLifeCountsForWhatIsStored()
        {
            foreach (var key in new[] { "a", "b", "c" })
                Get(key);
            cache.Retune(BlockBytes + 1000, TimeSpan.FromHours(1), TimeSpan.FromHours(1));
            Tests.Equal(2L, metrics.CacheEvictions.Value);
            Tests.Equal(true, cache.Sizes.Bytes >= BlockBytes && cache.Sizes.Bytes <= cache.Sizes.MaxBytes, "one is left");
            Thread.Sleep(20);
            cache.Retune(BlockBytes + 1000, TimeSpan.FromSeconds(0.01), TimeSpan.FromHours(1));
            Tests.Equal((0L, 1L), (cache.Sizes.Bytes, metrics.CacheExpired.Value));
        }

        public void WhatNobodyUsesGoesBeforeItsTime()
        {
            Get("a");
            Thread.Sleep(20);
            cache.Retune(BlockBytes * 2, TimeSpan.FromHours(1), TimeSpan.FromSeconds(0.01));
            Tests.Equal((0L, 1L), (cache.Sizes.Bytes, metrics.CacheExpired.Value));
        }

        public void CallersOfOneKeyShareALoad()
        {
            var gate = new TaskCompletionSource<int>();
            var all = Enumerable.Range(0, 5).Select(_ => cache.Get("a", async () =>
            {
                loads++;
                await gate.Task;
                return new Block(BlockBytes);
            })).ToArray();
            gate.SetResult(0);
            Task.WaitAll(all);
            Tests.Equal((1, 1L, 4L), (loads, metrics.CacheMisses.Value, metrics.CacheHits.Value));
            foreach (var each in all)
                Tests.Equal((long)BlockBytes, each.Result.SizeBytes);
        }

        public void ALoadThatFailsIsMadeAnew()
        {
            Tests.Equal(true, cache.Get("a", () => throw new IOException()).ContinueWith(each => each.IsFaulted).Result, "failed");
            Get("a");
            Tests.Equal((1, 2L), (loads, metrics.CacheMisses.Value));
        }

        public void ABlockIsThereUntilItsLastHolderReleasesIt()
        {
            var before = MemoryGate.ResidentBytes;
            var block = new Block(64 << 20);
            block.Hold();
            block.Release();
            Tests.Equal(true, MemoryGate.ResidentBytes - before > 60 << 20, "held");
            var held = new Held(block);
            held.Dispose();
            held.Dispose();
            Tests.Equal(true, MemoryGate.ResidentBytes - before < 4 << 20, "given back");
        }

        private void Get(string key) => cache.Get(key, () =>
        {
            loads++;
            return Task.FromResult(new Block(BlockBytes));
        }).Result.Dispose();
    }
}
