"""Neural parts that several methods share, with the parameter names of published weights."""
