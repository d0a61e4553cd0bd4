"""The commands of `prism` by subject: one module a group, thin over the functions that do the work."""
