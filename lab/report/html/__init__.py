"""The report as one HTML page with drawn charts, from a saved run alone."""
