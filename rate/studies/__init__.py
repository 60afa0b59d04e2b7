"""Studies of a run or an image beyond PT and IR: faithfulness, precision, corruptions, one image."""
