"""The decisions that know no cluster manager."""
