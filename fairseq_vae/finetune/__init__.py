"""From a BART and text to a trained, measured and sampled VAE: recipes, the plan of a run, its steps."""
