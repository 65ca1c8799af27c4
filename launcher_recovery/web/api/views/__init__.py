"""What answers the routes of the API, one module for what belongs together."""
