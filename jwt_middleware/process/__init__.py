"""The live side of one Settings in this process: what waits, reads, writes and counts."""
