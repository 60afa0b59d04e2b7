"""The commands that make and check evaluation sets: `rate data index`, `check`, `corrupt`, `synth`."""
