"""One hook per vendor: turns a connection into calls."""
