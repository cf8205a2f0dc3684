"""Start, wait for and stop PostgreSQL, Kafka, Connect and the agents as native processes."""
