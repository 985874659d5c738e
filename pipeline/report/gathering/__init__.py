"""What a report says, gathered from runs: reads, computes, and writes nothing."""
