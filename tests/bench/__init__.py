"""The benchmark: livegate beside what else one could do, on a real server; ``scripts/bench`` runs it."""
