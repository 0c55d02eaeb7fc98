"""From a resolved config to a RunSpec, by the tables of `schema`."""
