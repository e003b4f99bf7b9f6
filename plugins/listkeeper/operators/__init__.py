"""One module per vendor, and the steps every delivery shares."""
