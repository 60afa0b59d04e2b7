"""One HTML file that holds a whole report and needs nothing else."""
