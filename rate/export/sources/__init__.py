"""The conversion of a SOURCE or a checkpoint to a torch model with heads, geometry and classes."""
