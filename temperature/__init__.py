"""The small case: one temperature a minute, averaged every ten minutes by plain SQL."""
