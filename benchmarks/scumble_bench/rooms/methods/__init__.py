"""Methods, measured on held-out scenes: `python -m scumble_bench.rooms.methods`."""
