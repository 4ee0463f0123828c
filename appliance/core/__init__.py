"""Decisions: pure. No input or output, no clock, no logging; NumPy and OpenCV's image arithmetic are arithmetic."""
