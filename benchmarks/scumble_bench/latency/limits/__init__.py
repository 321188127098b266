"""What the device could do at best, and what a variant of the UNet asks of it."""
