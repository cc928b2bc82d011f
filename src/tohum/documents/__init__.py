"""Documents: any source (files, folders, records, stdin, Python itself) -> texts with their places."""
