"""One self-contained HTML file with a whole report."""
