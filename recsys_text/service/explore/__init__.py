"""The explorer: pages on which people see what is served, and why, and roll it back."""
