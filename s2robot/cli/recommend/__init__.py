"""Work of ``s2robot recommend``: the table, the files, and rollouts that confirm the choice."""
