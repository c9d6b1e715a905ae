"""Which labels a run doubts: a ranking, estimates, and a page on which a person reviews faces."""
