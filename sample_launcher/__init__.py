"""A small real launcher, to try launcher plugins with: projects, custom nodes, models, a page."""
