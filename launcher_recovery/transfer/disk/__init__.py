"""What a download asks of the disk: folders, names, room, and copies of what is there."""
