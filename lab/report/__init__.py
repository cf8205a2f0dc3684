"""From evidence to what people and scripts read."""
