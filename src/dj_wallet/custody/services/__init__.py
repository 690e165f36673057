"""Every write of custody, one module for each use case."""
