"""Measurements that the documents quote. Each script prints what it measured and writes it under results/."""
