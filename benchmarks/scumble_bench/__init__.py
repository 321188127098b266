"""The demo world, benchmarks and the commands they bring."""
