"""Gymnasium's MuJoCo tasks, many environments at once, equal to the last bit.

`simulations.simulate` begins with environments as `gymnasium.make` makes them; `vector`
has Gymnasium's interface for vectors, and `rows` that of an evaluation. MuJoCo is
imported only where environments of it are stepped.
"""
