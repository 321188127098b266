"""What Scumble is compared with: plain implementations of what published code does."""
