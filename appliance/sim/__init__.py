"""The appliance without hardware: real implementations of the ports, shipped, that pass the devices' contracts."""
