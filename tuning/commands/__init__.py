"""The commands of `tune`, a file for each or for a group: they parse, call, print (the only `typer` imports)."""
