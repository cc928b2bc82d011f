"""`python -m tohum` and the `tohum` command."""

from tohum.cli.main import main

if __name__ == "__main__":
    main()
