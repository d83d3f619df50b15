"""The values that everything else passes around. They know no policy, no clock and no framework."""
