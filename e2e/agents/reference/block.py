"""Memory that is really there, and really gone afterwards."""

import mmap

HUGE_PAGE_BYTES = 2 * 2**20


class Block:
    """Resident memory straight from the kernel: freed bytes leave the process at once, past the allocator's pools.

    Attributes:
        size_bytes: What it holds, in whole pages.
    """

    def __init__(self, size_bytes: int) -> None:
        pages = max(1, -(-size_bytes // mmap.PAGESIZE))
        self.size_bytes = pages * mmap.PAGESIZE
        self._map = mmap.mmap(-1, self.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if self.size_bytes >= HUGE_PAGE_BYTES:
            self._map.madvise(mmap.MADV_HUGEPAGE)  # a quarter of the CPU time; many agents share a small machine
        self._map[:: mmap.PAGESIZE] = b"\x01" * pages  # the kernel gives a page when it is written to, not before

    def free(self) -> None:
        """Gives the memory back; more than once is fine. Without it the memory goes with the last reference."""
        self._map.close()
