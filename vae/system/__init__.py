"""This machine: devices, files, the screen, signals, several processes. Nothing here knows a VAE."""
