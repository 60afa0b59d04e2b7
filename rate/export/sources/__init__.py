"""How a SOURCE or a checkpoint becomes a torch model with heads, geometry and classes."""
