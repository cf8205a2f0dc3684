"""`twinpath bench`: latency, throughput, memory and cost, each beside its limit measured in the same run."""
