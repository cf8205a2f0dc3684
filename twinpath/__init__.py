"""What every path shares: the rules, the alert store, the settings and the errors."""
