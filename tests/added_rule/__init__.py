"""A rule that is not one of ours: what docs/adding-a-rule.md asks of a module, for the tests that follow that page."""
