"""From a benchmark's original download to the folders that the published configs expect: see `table.BENCHMARKS`."""
