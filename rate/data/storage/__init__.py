"""The sources of bytes: local files, containers and remote storage, with limits on all of them."""
