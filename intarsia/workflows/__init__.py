"""What the commands do, as functions for Python and the command line alike."""
