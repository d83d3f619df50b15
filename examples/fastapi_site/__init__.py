"""A notice board, a whole small FastAPI service with its page: see README.md beside this file."""
