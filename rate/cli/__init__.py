"""The command line, one file for each verb; heavy packages are imported when a command runs."""
