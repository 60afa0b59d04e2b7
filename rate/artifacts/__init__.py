"""What an exported model and a fine-tuned checkpoint are on disk: documents, digests, weights, plans, parity sample."""
