"""Bytes in, verified values out. Pure: no input or output, no clock, no logging."""
