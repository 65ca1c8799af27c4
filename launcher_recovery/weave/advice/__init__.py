"""What is done at the join points of hosts; each module is loaded at the first call that needs it."""
