"""What happens in a browser: the demo, and cookie mode across origins, played in Chromium."""
