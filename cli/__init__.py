"""`canary`: a module a group of commands, each loaded when it is typed."""
