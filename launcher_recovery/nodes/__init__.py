"""Installing custom nodes: fetched, checked out, their requirements installed; in place whole or not at all.

A node is made in a staging folder beside its place. Its name ends with `.disabled`, because ComfyUI loads every other
folder below `custom_nodes` when it starts (`init_external_custom_nodes` in its nodes.py). It lies there because it has
to be on the same disk, and because scripts of nodes look for ComfyUI two folders above themselves.
"""
