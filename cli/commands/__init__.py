"""The commands of `canary`, one a module; `cli.command_table` says which is where."""
