"""Scripts that train with one library each, for `benchmarks.frameworks`."""
