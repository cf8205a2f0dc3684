"""Experiments: what each side costs and gives, in paired rounds on one table."""
