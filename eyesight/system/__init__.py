"""Files, cache, memory, progress and facts of the machine."""
