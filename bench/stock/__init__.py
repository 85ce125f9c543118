"""Stock TaskFlow doing the same, as its documentation says."""
