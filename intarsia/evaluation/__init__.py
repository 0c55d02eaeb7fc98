"""From predictions and labels to scores, tables and files."""
