"""The engines that run a UNet step with a plan's ports."""
