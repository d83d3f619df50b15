"""From a request to a step: whose tokens are trusted, which are known, what is answered."""
