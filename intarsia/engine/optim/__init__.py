"""Optimizers, parameter groups, schedules, lengths."""
