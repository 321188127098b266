"""`scumble eval`: methods and inversions, measured on PIE-Bench and on held-out rooms."""
