"""Making and checking evaluation sets: `rate data index`, `check`, `corrupt`, `synth`."""
