"""One request, its answer and its body."""
