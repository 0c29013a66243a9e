"""Files, locks, the cache, child processes, memory, and facts of the machine."""
