"""Making the board fit the store again, and handing back what nobody holds any longer. Read reconciler.py first."""
