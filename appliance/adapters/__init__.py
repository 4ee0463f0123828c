"""Devices and networks, one port a file; a library is imported when its device is opened."""
