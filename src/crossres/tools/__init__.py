"""What a user runs by hand.

Estimates, status, curves, exports and references of a suite. Nothing imports this room; it may import every other.
"""
