using System;
using System.Runtime.InteropServices;
using System.Threading;
using Mono.Unix.Native;

namespace Agentscaler.Agents
{
    /// <summary>Memory that is really there and, straight from the kernel, really gone with its last holder: the collector
    /// would give it back when it likes.</summary>
    internal sealed class Block
    {
        private const long PageBytes = 4096, HugePageBytes = 2 << 20;
        private const int HugePages = 14;
        private readonly IntPtr address;
        private int holders = 1;

        /// <summary>Takes at least so many bytes, for one holder.</summary>
        public Block(long bytes)
        {
            SizeBytes = Math.Max(1, (bytes + PageBytes - 1) / PageBytes) * PageBytes;
            address = Syscall.mmap(
                IntPtr.Zero, (ulong)SizeBytes, MmapProts.PROT_READ | MmapProts.PROT_WRITE,
                MmapFlags.MAP_PRIVATE | MmapFlags.MAP_ANONYMOUS, -1, 0);
            if (address == Syscall.MAP_FAILED)
                throw new InsufficientMemoryException();
            if (SizeBytes >= HugePageBytes)
                madvise(address, (UIntPtr)SizeBytes, HugePages); // less CPU time where it is to be had
            for (long at = 0; at < SizeBytes; at += PageBytes) // the kernel gives a page when it is written to, not before
                Marshal.WriteByte(new IntPtr(address.ToInt64() + at), 1);
        }

        public long SizeBytes { get; }

        [DllImport("libc")]
        private static extern int madvise(IntPtr address, UIntPtr length, int advice);

        public void Hold() => Interlocked.Increment(ref holders);

        public void Release()
        {
            if (Interlocked.Decrement(ref holders) == 0)
                Syscall.munmap(address, (ulong)SizeBytes);
        }
    }

    /// <summary>One holder's part of a block, given back once however often it is disposed of.</summary>
    internal sealed class Held : IDisposable
    {
        private readonly Block block;
        private int released;

        public Held(Block block) => this.block = block;

        public long SizeBytes => block.SizeBytes;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref released, 1) == 0)
                block.Release();
        }
    }
}
