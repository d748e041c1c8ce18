"""``python -m latadj``: the command line, where the script is not on the path."""

from latadj.cli import main

if __name__ == "__main__":
    main()
