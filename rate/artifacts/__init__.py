"""Exported models and fine-tuned checkpoints on disk: documents, digests, weights, plans, parity sample."""
