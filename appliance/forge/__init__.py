"""The forge: from a trained network to a folder the device accepts. Runs on a build machine, never on the device.

Each step is a function with a typed result and a command (``appliance forge --help``). The heavy libraries are the
extra ``[forge]`` (decision 0009) and are imported by the function that needs them.
"""
