"""The bench around the paths: it starts them as processes, loads them and measures them."""
