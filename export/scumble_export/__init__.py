"""From a diffusers checkpoint to a pack."""
