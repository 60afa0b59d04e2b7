"""Statistics of verdicts and scores, without a model: shares and means with their intervals, comparisons, validity."""
