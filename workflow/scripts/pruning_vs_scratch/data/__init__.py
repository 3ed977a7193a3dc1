"""From a package index or a folder to token windows: fetch, extract, divide, tokenise, read."""
