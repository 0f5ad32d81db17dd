"""What layers and networks cost in milliseconds on a device."""
