"""Real engines for the tests: started where they are needed, stopped when the run ends."""
