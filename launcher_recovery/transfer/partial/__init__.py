"""The partial file: its bytes, its pieces and their hashes, and what is kept of them."""
