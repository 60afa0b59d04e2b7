"""Fine-tuning recipes in PyTorch that end in a checkpoint folder."""
