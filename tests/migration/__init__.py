"""Applications of other libraries, with users who are logged in, are replaced by ours."""
