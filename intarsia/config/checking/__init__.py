"""A config against the constructors that it names, before anything is built."""
