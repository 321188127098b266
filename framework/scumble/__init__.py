"""The host: runs, plans, ports, hooks, planner, schedulers, words, pictures, command line."""
