"""Where bytes come from: local files, containers, remote storage, and the limits on all of them."""
