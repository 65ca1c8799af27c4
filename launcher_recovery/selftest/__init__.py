"""What an installation can find out about itself, here and now: whether its parts work, whether it survives real faults
of a private server, and how fast it is on this machine. Nothing of it touches the operations of the launcher."""
