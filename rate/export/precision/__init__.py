"""Half precision and int8 graphs beside the f32 graph, and the proofs that accept them."""
