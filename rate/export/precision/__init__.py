"""Half precision and int8 graphs beside the f32 graph, with the proofs that accept them."""
