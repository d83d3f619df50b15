"""What a request carries and where it goes: credentials, routes, origins."""
