"""Training: recipes, data, the loop. Needs torch."""
