"""The configuration language: from files to plain values that know where they were written."""
