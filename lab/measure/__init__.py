"""What a run is measured by: fence, witness, references, agreement, latency."""
