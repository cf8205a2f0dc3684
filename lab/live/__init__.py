"""What runs, seen while it runs: both sides on one stream (`watch`), one transaction on its way (`follow`)."""
