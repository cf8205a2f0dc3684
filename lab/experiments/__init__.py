"""`twinpath experiment NAME`: what a comparison asks beside speed, each a module with PARTS and `measure`."""
