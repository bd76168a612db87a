"""The training objective: likelihood, free bits, the weight of the KL, and further terms."""
