"""Values in, one HTML page out: templates, scripts and style."""
