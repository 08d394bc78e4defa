"""What a user's networks are asked: questions out of files, and networks that answer them, by kind of task."""
